//! The watchdog: how long a run may take in real time. It stands outside of the deterministic core
//! and can do one thing: have a run given up, without a verdict.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// What a run has unless the command line says otherwise, in seconds.
pub const SECONDS_DEFAULT: u64 = 60;
/// What the command line may ask for, in seconds.
pub const SECONDS_MAX: u64 = 3600;

/// Does `work` with a flag that is set once `limit` has passed. It is up to the work to look at it.
pub fn within<T>(limit: Duration, work: impl FnOnce(&AtomicBool) -> T) -> T {
    let late = AtomicBool::new(false);
    thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        let flag = &late;
        scope.spawn(move || {
            if waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::Relaxed);
            }
        });
        let result = work(&late);
        // The thread hears of it, if by a panic too.
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_when_its_time_is_up_and_not_before() {
        let told = within(Duration::from_millis(1), |late| {
            while !late.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            "late"
        });
        assert_eq!(told, "late");
        let late = within(Duration::from_secs(3600), |late| late.load(Ordering::Relaxed));
        assert!(!late);
    }

    #[test]
    fn a_panic_of_the_work_does_not_wait_for_the_limit() {
        let panic = std::panic::catch_unwind(|| {
            within(Duration::from_secs(3600), |_| panic!("told"));
        });
        assert!(panic.is_err());
    }
}
