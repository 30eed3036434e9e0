//! Checks that say nothing: those that hold whatever happens, and those that never can.

use super::codes::Code;
use super::expect::{Bound, Claim};
use super::plan::DeviceKind;
use super::reading::Reader;
use crate::outcome::Outcome;
use std::ops::Range;

/// Refuses a check that no run could fail, or none pass.
pub fn check(reader: &mut Reader<'_>, claim: &Claim, span: &Range<usize>) {
    let refuse = |what: &str| Some((what.to_owned(), None));
    let wrong = match claim {
        Claim::OutcomeIn(outcomes) if outcomes.is_empty() => {
            refuse("`is` is empty: no outcome could be right")
        }
        Claim::OutcomeIn(outcomes) if Outcome::ALL.iter().all(|any| outcomes.contains(any)) => {
            refuse("`is` has every outcome: none could be wrong")
        }
        Claim::OutcomeIn(outcomes)
            if (1..outcomes.len()).any(|at| outcomes[..at].contains(&outcomes[at])) =>
        {
            refuse("`is` has an outcome twice")
        }
        Claim::Says(text) if text.is_empty() => refuse("`text` is empty: every console says that"),
        Claim::Reports { name, .. } if name.is_empty() => {
            refuse("`name` is empty: no guest reports without a name")
        }
        Claim::SameView { like, .. } if like.is_empty() => {
            refuse("`like` is empty: a run always looks like itself")
        }
        Claim::Touches { filter, .. }
            if filter.queue.is_some_and(|queue| queue.0 >= QUEUES_MAX) =>
        {
            refuse("no device has a queue of that number: they have 0, or 0 and 1")
        }
        Claim::Count { must, .. } | Claim::Touches { must, .. } => never(*must),
        Claim::Outcome(_)
        | Claim::OutcomeIn(_)
        | Claim::Finding(_)
        | Claim::Ended(_)
        | Claim::Reports { .. }
        | Claim::Says(_)
        | Claim::Never { .. }
        | Claim::SameView { .. } => None,
    };
    if let Some((message, help)) = wrong {
        reader.fault(Code::OUT_OF_RANGE, span, message, help);
    }
}

/// Refuses a bound that no number is in, or every one.
pub fn check_bound(reader: &mut Reader<'_>, must: Bound, span: &Range<usize>) {
    if let Some((message, help)) = never(must) {
        reader.fault(Code::OUT_OF_RANGE, span, message, help);
    }
}

fn never(must: Bound) -> Option<(String, Option<String>)> {
    match must {
        Bound::Between(least, most) if least > most => {
            let help = format!("did you mean `Between({most}, {least})`?");
            Some((format!("no number is from {least} to {most}"), Some(help)))
        }
        Bound::AtLeast(0) => Some(("every number is at least 0".to_owned(), None)),
        Bound::AtMost(u64::MAX) | Bound::Between(0, u64::MAX) => {
            Some((format!("every number is at most {}", u64::MAX), None))
        }
        Bound::Exactly(_) | Bound::AtMost(_) | Bound::AtLeast(_) | Bound::Between(..) => None,
    }
}

/// No device has more.
const QUEUES_MAX: u16 = 2;

/// How many queues a device has (virtio 1.4, 5.1.2, 5.2.2, 5.3.2, 5.4.2, 5.5.2; the console has one
/// port, the balloon no statistics).
pub const fn queues(kind: &DeviceKind) -> u16 {
    match kind {
        DeviceKind::Blk { .. } | DeviceKind::Entropy => 1,
        DeviceKind::Net { .. } | DeviceKind::Console | DeviceKind::Balloon => QUEUES_MAX,
    }
}
