//! Runs plans on several threads and hands their results over in the order of the plans.

use crate::escape;
use crate::event::Record;
use crate::log::RunLog;
use crate::outcome::Outcome;
use crate::scenario::limits::Limits;
use crate::scenario::plan::Plan;
use crate::verdict::{self, Judged};
use crate::watchdog;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What runs one plan, or says why there is no log of it: it cannot even start, or the flag was set
/// while it was going on.
pub type Runner<'a> = &'a (dyn Fn(&Plan, &AtomicBool) -> Result<RunLog, String> + Sync);

/// How one plan's run came back.
#[derive(Debug)]
pub enum Done {
    /// It ran and was judged.
    Judged(Box<(RunLog, Judged)>),
    /// It could not even start, or was given up, for this reason: no verdict.
    NotRun(String),
    /// A bug of ours: it panicked with this message.
    Panicked(String),
}

/// Logs are large: no thread is further ahead of the slowest run than this many runs per thread.
const AHEAD_PER_THREAD: usize = 4;

/// What runs may take beyond the defaults of their limits, all together, in bytes: those that may
/// take more wait for each other, so that a selection's memory does not grow with its threads.
const EXTRA_BYTES_MAX: u64 = 1 << 30;

/// What a run may take in memory that one with default limits may not.
fn extra_bytes(plan: &Plan) -> u64 {
    let Limits { memory_bytes, log_events, .. } = plan.limits;
    let default = Limits::default();
    let events = log_events.saturating_sub(default.log_events);
    let log_bytes = events.saturating_mul(size_of::<Record>() as u64);
    memory_bytes.saturating_sub(default.memory_bytes).saturating_add(log_bytes)
}

/// What its result takes until it is handed over.
fn bytes_kept(done: &Done) -> u64 {
    match done {
        Done::Judged(judged) => {
            let (log, _) = judged.as_ref();
            let twins: usize = log.twins.iter().map(|twin| twin.records.len()).sum();
            ((log.records.len() + twins) * size_of::<Record>()) as u64
        }
        Done::NotRun(_) | Done::Panicked(_) => 0,
    }
}

/// How far the runs are.
#[derive(Debug, Default)]
struct Progress {
    /// Which plan is next.
    next: usize,
    /// How many were handed over.
    handed_over: usize,
    /// What those in between may take beyond their defaults, and what is kept of them.
    bytes: u64,
}

/// Who may go on.
struct Gate<'a> {
    plans: &'a [&'a Plan],
    progress: Mutex<Progress>,
    moved: Condvar,
    ahead_max: usize,
}

impl Gate<'_> {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next plan to run, once the hand-over is close enough behind and there is room. The first
    /// that was not handed over runs or has run, so room will be made.
    fn next(&self) -> Option<usize> {
        let mut progress = self.lock();
        loop {
            let number = progress.next;
            let extra = extra_bytes(self.plans.get(number)?);
            let is_close = number < progress.handed_over + self.ahead_max;
            let is_alone = number == progress.handed_over;
            if is_alone || is_close && progress.bytes + extra <= EXTRA_BYTES_MAX {
                progress.next += 1;
                progress.bytes += extra;
                return Some(number);
            }
            progress = self.moved.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Plan `number` has run.
    fn has_run(&self, number: usize, done: &Done) {
        let mut progress = self.lock();
        progress.bytes += bytes_kept(done);
        progress.bytes -= extra_bytes(self.plans[number]);
        self.moved.notify_all();
    }

    /// The next result, of which so much was kept, was handed over.
    fn handed_over(&self, kept: u64) {
        let mut progress = self.lock();
        progress.handed_over += 1;
        progress.bytes -= kept;
        self.moved.notify_all();
    }
}

/// How plans are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// On how many threads.
    pub threads: usize,
    /// How long each may take in real time.
    pub wall_clock: Duration,
}

impl Pace {
    /// As asked for, else a thread for each core and the watchdog's own limit.
    pub fn new(threads: Option<u16>, seconds: Option<u64>) -> Self {
        let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let wall_clock = Duration::from_secs(seconds.unwrap_or(watchdog::SECONDS_DEFAULT));
        Self { threads: threads.map_or_else(cores, usize::from), wall_clock }
    }
}

/// Runs `plans` at this pace; `take` gets each result, in the order of `plans`, whatever
/// thread finished first. A panic in one run does not stop the others.
pub fn run(plans: &[&Plan], pace: Pace, runner: Runner<'_>, mut take: impl FnMut(usize, Done)) {
    let threads = pace.threads.clamp(1, plans.len().max(1));
    let gate = Gate {
        plans,
        progress: Mutex::default(),
        moved: Condvar::new(),
        ahead_max: threads * AHEAD_PER_THREAD,
    };
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (gate, sender) = (&gate, sender.clone());
            scope.spawn(move || {
                while let Some(number) = gate.next() {
                    let done = one(plans[number], pace, runner);
                    gate.has_run(number, &done);
                    // The receiver lives until every plan was handed over.
                    if sender.send((number, done)).is_err() {
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
                let kept = bytes_kept(&done);
                take(next, done);
                gate.handed_over(kept);
                next += 1;
            }
        }
    });
}

fn one(plan: &Plan, pace: Pace, runner: Runner<'_>) -> Done {
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let log = watchdog::within(pace.wall_clock, |late| runner(plan, late))?;
        let judged = verdict::judge(plan, &log);
        Ok(Box::new((log, judged)))
    }));
    match result {
        Ok(Ok(judged)) => Done::Judged(judged),
        Ok(Err(why)) => Done::NotRun(why),
        Err(payload) => Done::Panicked(panic_text(payload.as_ref())),
    }
}

/// What was not as it should be in runs of which only the outcome is kept.
#[derive(Debug, Default)]
pub struct Trouble {
    /// What bugs of ours said.
    pub bugs: Vec<String>,
    /// Why others have no outcome.
    pub not_run: Vec<String>,
}

impl Trouble {
    /// A line for each; escaped.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let line = |what: &'static str| {
            move |why: &String| format!("{what}: {} (in a proof)\n", escape::terminal_cut(why, 400))
        };
        let bugs = self.bugs.iter().map(line("bug in uvsim"));
        bugs.chain(self.not_run.iter().map(line("could not run")))
    }
}

/// How `plans` come out, in their order, with nothing else kept; `None` for those that did not run:
/// `trouble` learns why.
pub fn outcomes(
    plans: &[&Plan],
    pace: Pace,
    runner: Runner<'_>,
    trouble: &mut Trouble,
) -> Vec<Option<Outcome>> {
    let mut outcomes = Vec::with_capacity(plans.len());
    run(plans, pace, runner, |_, done| {
        outcomes.push(match done {
            Done::Judged(judged) => Some(judged.1.outcome),
            Done::NotRun(why) => {
                trouble.not_run.push(why);
                None
            }
            Done::Panicked(why) => {
                trouble.bugs.push(why);
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
