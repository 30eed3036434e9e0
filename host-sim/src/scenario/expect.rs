//! Typed expectations: what a scenario claims about its runs. `verdict.rs` judges them.

use super::design::Layer;
use super::matrix::AxisFile;
use super::reading::{At, Located};
use super::words::{DirectionWord, PartWord, ReportWord, StateWord};
use crate::counters::{Counter, Phase};
use crate::event::{DeviceIndex, Direction, Part, QueueIndex};
use crate::outcome::Outcome;
use crate::view::{Onlooker, Until};
use serde::Deserialize;
use std::fmt;
use ultravisor::PageState;
use ultravisor_abi::ReportKind;

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Bound {
    /// This many.
    Exactly(u64),
    /// This many or fewer.
    AtMost(u64),
    /// This many or more.
    AtLeast(u64),
    /// From the first to the second, both included.
    Between(u64, u64),
}

impl Bound {
    /// Whether `count` is within it.
    pub fn holds(self, count: u64) -> bool {
        match self {
            Self::Exactly(wanted) => count == wanted,
            Self::AtMost(most) => count <= most,
            Self::AtLeast(least) => count >= least,
            Self::Between(least, most) => (least..=most).contains(&count),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(wanted) => write!(f, "exactly {wanted}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Between(least, most) => write!(f, "from {least} to {most}"),
        }
    }
}

/// Over which part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Span {
    /// Before "ready".
    Init,
    /// From "ready" to "done".
    Steady,
    /// After "done".
    After,
    /// The whole run.
    #[default]
    All,
}

impl Span {
    /// The phases that it covers.
    pub fn phases(self) -> &'static [Phase] {
        match self {
            Self::Init => &[Phase::Init],
            Self::Steady => &[Phase::Steady],
            Self::After => &[Phase::After],
            Self::All => &Phase::ALL,
        }
    }

    /// The name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Steady => "steady state",
            Self::After => "after",
            Self::All => "the whole run",
        }
    }
}

/// How a run ends, without the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum EndedWord {
    /// The guest called exit with this code.
    Exit(u64),
    /// The VM was terminated.
    SvmTerminated,
    /// QEMU died of SIGBUS.
    QemuKilled,
    /// A budget was used up.
    Budget,
    /// The guest halts and nothing is due.
    Idle,
    /// The guest touches a unit that cannot be paged in, and nothing is due.
    Refault,
    /// A guest exception without a handler.
    Fault,
    /// Our limit.
    Unsupported,
}

/// What must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Incident {
    /// A declared secret showed in plain.
    Leak,
    /// A page-in failed verification.
    Tampered,
    /// QEMU got SIGBUS.
    Sigbus,
    /// A ring made no sense to a device.
    Broken,
    /// A device got an address that came from neither `dma_map` nor `dma_alloc`.
    Foreign,
    /// The guest reported anything by name.
    Report,
    /// A secure unit was sealed, whoever caused it.
    PageOut,
    /// A unit was unsealed.
    PageIn,
    /// The host side touched a secure unit.
    SecureTouch,
    /// The hypervisor was called.
    Hypercall,
    /// The ultravisor was called by the guest.
    Ultracall,
}

/// One of `expect: [...]` as the file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Claim`, where they lead to")]
pub enum ExpectFile<'a> {
    Outcome {
        #[serde(borrow)]
        id: Located<'a, String>,
        is: Outcome,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    OutcomeIn {
        #[serde(borrow)]
        id: Located<'a, String>,
        is: Vec<Outcome>,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    Finding {
        #[serde(borrow)]
        id: Located<'a, String>,
        has: Outcome,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    Ended {
        #[serde(borrow)]
        id: Located<'a, String>,
        is: EndedWord,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    Count {
        #[serde(borrow)]
        id: Located<'a, String>,
        #[serde(borrow)]
        counter: Located<'a, String>,
        #[serde(default)]
        phase: Span,
        must: Bound,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    Touches {
        #[serde(borrow)]
        id: Located<'a, String>,
        #[serde(borrow)]
        device: Option<Located<'a, String>>,
        queue: Option<u16>,
        part: Option<PartWord>,
        direction: Option<DirectionWord>,
        state: Option<StateWord>,
        #[serde(default)]
        phase: Span,
        must: Bound,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    Reports {
        #[serde(borrow)]
        id: Located<'a, String>,
        report: Option<ReportWord>,
        name: String,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    Says {
        #[serde(borrow)]
        id: Located<'a, String>,
        text: String,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    Never {
        #[serde(borrow)]
        id: Located<'a, String>,
        event: Incident,
        #[serde(default)]
        phase: Span,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
    SameView {
        #[serde(borrow)]
        id: Located<'a, String>,
        onlooker: Onlooker,
        until: Until,
        #[serde(borrow)]
        like: Vec<Located<'a, AxisFile<'a>>>,
        #[serde(borrow, default)]
        when: Vec<Located<'a, AxisFile<'a>>>,
    },
}

/// `check: ...` of a policy's rule as the file says it: what an expectation says, without its id and
/// its runs, and what only a rule can ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Claim` and `Asked`, where they lead to")]
pub enum CheckFile<'a> {
    Outcome {
        is: Outcome,
    },
    OutcomeIn {
        is: Vec<Outcome>,
    },
    Finding {
        has: Outcome,
    },
    Ended {
        is: EndedWord,
    },
    Count {
        #[serde(borrow)]
        counter: Located<'a, String>,
        #[serde(default)]
        phase: Span,
        must: Bound,
    },
    Touches {
        #[serde(borrow)]
        device: Option<Located<'a, String>>,
        queue: Option<u16>,
        part: Option<PartWord>,
        direction: Option<DirectionWord>,
        state: Option<StateWord>,
        #[serde(default)]
        phase: Span,
        must: Bound,
    },
    Reports {
        report: Option<ReportWord>,
        name: String,
    },
    Says {
        text: String,
    },
    Never {
        event: Incident,
        #[serde(default)]
        phase: Span,
    },
    SameView {
        onlooker: Onlooker,
        until: Until,
        #[serde(borrow)]
        like: Vec<Located<'a, AxisFile<'a>>>,
    },
    Rate {
        #[serde(borrow)]
        counter: Located<'a, String>,
        #[serde(borrow)]
        per: Located<'a, String>,
        #[serde(default)]
        phase: Span,
        must: Bound,
    },
    NoMoreThan {
        #[serde(borrow)]
        base: Located<'a, String>,
        #[serde(borrow)]
        counter: Located<'a, String>,
        #[serde(default)]
        plus: u64,
        #[serde(borrow, default)]
        per: Vec<Located<'a, String>>,
        #[serde(default)]
        phase: Span,
    },
    WhoMustAct {
        #[serde(borrow)]
        only: Vec<Located<'a, Layer>>,
    },
}

/// The id and the `when:` of an expectation.
pub type IdAndRuns<'a> = (Located<'a, String>, Vec<Located<'a, AxisFile<'a>>>);

impl<'a> ExpectFile<'a> {
    /// The expectation as a check, and what it has beyond one.
    pub fn split(self) -> (IdAndRuns<'a>, CheckFile<'a>) {
        match self {
            Self::Outcome { id, is, when } => ((id, when), CheckFile::Outcome { is }),
            Self::OutcomeIn { id, is, when } => ((id, when), CheckFile::OutcomeIn { is }),
            Self::Finding { id, has, when } => ((id, when), CheckFile::Finding { has }),
            Self::Ended { id, is, when } => ((id, when), CheckFile::Ended { is }),
            Self::Count { id, counter, phase, must, when } => {
                ((id, when), CheckFile::Count { counter, phase, must })
            }
            Self::Touches { id, device, queue, part, direction, state, phase, must, when } => (
                (id, when),
                CheckFile::Touches { device, queue, part, direction, state, phase, must },
            ),
            Self::Reports { id, report, name, when } => {
                ((id, when), CheckFile::Reports { report, name })
            }
            Self::Says { id, text, when } => ((id, when), CheckFile::Says { text }),
            Self::Never { id, event, phase, when } => {
                ((id, when), CheckFile::Never { event, phase })
            }
            Self::SameView { id, onlooker, until, like, when } => {
                ((id, when), CheckFile::SameView { onlooker, until, like })
            }
        }
    }
}

/// What a check asks, with its counters resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// What an expectation can say. The device that it names is looked for in each run.
    Claim {
        /// The claim, about any device.
        claim: Claim,
        /// The one device that it is about.
        device: Option<At<String>>,
    },
    /// A counter against so many times another: all in integers.
    Rate {
        /// Which.
        counter: Counter,
        /// Of which.
        per: Counter,
        /// When.
        span: Span,
        /// How many times.
        must: Bound,
    },
    /// A counter against that of the run which differs in its design alone.
    NoMoreThan {
        /// The design of that run.
        base: String,
        /// Which.
        counter: Counter,
        /// How many more are allowed for each of `per`.
        plus: u64,
        /// Of this run; without any, `plus` is allowed once.
        per: Vec<Counter>,
        /// When.
        span: Span,
    },
    /// Nobody but these layers must act for the run's design to work.
    WhoMustAct {
        /// The layers that may have to.
        only: Vec<Layer>,
    },
}

/// One expectation of one run, with every name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its id, unique in the scenario.
    pub id: String,
    /// What it claims.
    pub claim: Claim,
}

/// Which touches. `None` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchFilter {
    /// By which device.
    pub device: Option<DeviceIndex>,
    /// Of which queue.
    pub queue: Option<QueueIndex>,
    /// Doing what.
    pub part: Option<Part>,
    /// Which way.
    pub direction: Option<Direction>,
    /// Of a unit in which state.
    pub state: Option<PageState>,
}

/// What is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The outcome is this one.
    Outcome(Outcome),
    /// The outcome is one of these: which one is chance, the seed's.
    OutcomeIn(Vec<Outcome>),
    /// This is among all that holds.
    Finding(Outcome),
    /// The run ends like this.
    Ended(EndedWord),
    /// A counter's value.
    Count {
        /// Which.
        counter: Counter,
        /// When.
        span: Span,
        /// How many.
        must: Bound,
    },
    /// How often the host side touched something.
    Touches {
        /// What.
        filter: TouchFilter,
        /// When.
        span: Span,
        /// How many touches.
        must: Bound,
    },
    /// The guest reported this name.
    Reports {
        /// As what; `None`: any kind.
        report: Option<ReportKind>,
        /// The name.
        name: String,
    },
    /// The consoles' text (virtio-console or H_PUT_TERM_CHAR) holds this.
    Says(String),
    /// This does not happen.
    Never {
        /// What.
        event: Incident,
        /// When.
        span: Span,
    },
    /// Up to a moment, somebody sees the same as in the run that differs in these axes alone.
    SameView {
        /// Who looks.
        onlooker: Onlooker,
        /// Up to when.
        until: Until,
        /// Axes and values of that run.
        like: Vec<(&'static str, String)>,
        /// Its place among the plan's twins.
        twin: usize,
    },
}

impl Claim {
    /// Whether it speaks about the steady state.
    pub fn is_about_steady(&self) -> bool {
        match self {
            Self::Count { span, .. } | Self::Touches { span, .. } | Self::Never { span, .. } => {
                *span == Span::Steady
            }
            Self::Outcome(_)
            | Self::OutcomeIn(_)
            | Self::Finding(_)
            | Self::Ended(_)
            | Self::Reports { .. }
            | Self::Says(_)
            | Self::SameView { .. } => false,
        }
    }
}
