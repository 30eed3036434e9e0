//! Runs plans on several threads and hands their results over in the order of the plans.

use crate::log::RunLog;
use crate::outcome::Outcome;
use crate::scenario::plan::Plan;
use crate::verdict::{self, Judged};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// What runs one plan, or says why it cannot even start.
pub type Runner<'a> = &'a (dyn Fn(&Plan) -> Result<RunLog, String> + Sync);

/// How one plan's run came back.
#[derive(Debug)]
pub enum Done {
    /// It ran and was judged.
    Judged(Box<(RunLog, Judged)>),
    /// It could not even start, for this reason: no verdict.
    NotRun(String),
    /// A bug of ours: it panicked with this message.
    Panicked(String),
}

/// Logs are large: no thread is further ahead of the slowest run than this many runs per thread.
const AHEAD_PER_THREAD: usize = 4;

/// Which plan is next, and how many were handed over.
struct Gate {
    state: Mutex<(usize, usize)>,
    moved: Condvar,
    ahead_max: usize,
    total: usize,
}

impl Gate {
    /// The next plan to run, once the hand-over is close enough behind.
    fn next(&self) -> Option<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 < self.total && state.0 >= state.1 + self.ahead_max {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.0;
        state.0 += 1;
        (number < self.total).then_some(number)
    }

    fn handed_over(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
        self.moved.notify_all();
    }
}

/// Runs `plans` on `threads` threads; `take` gets each result, in the order of `plans`, whatever
/// thread finished first. A panic in one run does not stop the others.
pub fn run(plans: &[&Plan], threads: usize, runner: Runner<'_>, mut take: impl FnMut(usize, Done)) {
    let threads = threads.clamp(1, plans.len().max(1));
    let gate = Gate {
        state: Mutex::new((0, 0)),
        moved: Condvar::new(),
        ahead_max: threads * AHEAD_PER_THREAD,
        total: plans.len(),
    };
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (gate, sender) = (&gate, sender.clone());
            scope.spawn(move || {
                while let Some(number) = gate.next() {
                    // The receiver lives until every plan was handed over.
                    if sender.send((number, one(plans[number], runner))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut next = 0;
        for (number, done) in receiver {
            early.insert(number, done);
            while let Some(done) = early.remove(&next) {
                take(next, done);
                gate.handed_over();
                next += 1;
            }
        }
    });
}

fn one(plan: &Plan, runner: Runner<'_>) -> Done {
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let log = runner(plan)?;
        let judged = verdict::judge(plan, &log);
        Ok(Box::new((log, judged)))
    }));
    match result {
        Ok(Ok(judged)) => Done::Judged(judged),
        Ok(Err(why)) => Done::NotRun(why),
        Err(payload) => Done::Panicked(panic_text(payload.as_ref())),
    }
}

/// How many threads: as asked for, else one for each core.
pub fn threads(asked: Option<u16>) -> usize {
    let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
    asked.map_or_else(cores, usize::from)
}

/// How `plans` come out, in their order, with nothing else kept; `None` for those that did not run.
/// What bugs of ours said is put into `bugs`.
pub fn outcomes(
    plans: &[&Plan],
    threads: usize,
    runner: Runner<'_>,
    bugs: &mut Vec<String>,
) -> Vec<Option<Outcome>> {
    let mut outcomes = Vec::with_capacity(plans.len());
    run(plans, threads, runner, |_, done| {
        outcomes.push(match done {
            Done::Judged(judged) => Some(judged.1.outcome),
            Done::NotRun(_) => None,
            Done::Panicked(why) => {
                bugs.push(why);
                None
            }
        });
    });
    outcomes
}

/// What a panic said.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
