//! Which record of a log is the moment that a chapter means.

use crate::event::{Cause, Event, Mark, Record};
use crate::scenario::chapter::Moment;
use ultravisor::{Effect, Life, PageOp};

/// The `nth` record behind `after` (from the first on, if that is `None`) that `moment` means.
pub fn find(records: &[Record], moment: Moment, after: Option<usize>, nth: u32) -> Option<usize> {
    let last = records.len().checked_sub(1)?;
    if moment == Moment::Stay {
        return Some(after.unwrap_or(0));
    }
    if moment == Moment::End {
        return Some(last);
    }
    let from = after.map_or(0, |after| after + 1);
    let behind = records.iter().enumerate().skip(from);
    let meant = behind.filter(|(_, record)| is_meant(moment, &record.event));
    meant.map(|(at, _)| at).nth(nth.saturating_sub(1) as usize)
}

fn is_meant(moment: Moment, event: &Event) -> bool {
    match moment {
        Moment::Stay | Moment::End => false,
        Moment::BecomesSecure => matches!(event, Event::Life { to: Life::Secure, .. }),
        Moment::Secret => matches!(event, Event::Secret { .. }),
        Moment::Ready => matches!(event, Event::Mark { mark: Mark::Ready }),
        Moment::Done => matches!(event, Event::Mark { mark: Mark::Done }),
        Moment::Decides => matches!(event, Event::Decision { .. }),
        Moment::Kick => matches!(event, Event::Kick { .. }),
        Moment::Touch { part, direction, state } => {
            let Event::Touch { part: its, direction: way, state: found, .. } = event else {
                return false;
            };
            part.is_none_or(|part| *its == part.into())
                && direction.is_none_or(|direction| *way == direction.into())
                && state.is_none_or(|state| *found == state.into())
        }
        Moment::PageOut { part } => {
            let Event::Page { op: PageOp::PageOut, cause, .. } = event else { return false };
            part.is_none_or(
                |part| matches!(cause, Some(Cause::Touch { part: its, .. }) if *its == part.into()),
            )
        }
        Moment::PageIn => {
            matches!(event, Event::Page { op: PageOp::PageIn, effect: Effect::Unseal, .. })
        }
        Moment::Tampered => matches!(event, Event::Tampered { .. }),
        Moment::Share => matches!(event, Event::Page { op: PageOp::ShareCommit, .. }),
        Moment::Unshare => {
            matches!(
                event,
                Event::Page { op: PageOp::UnshareCommit, effect: Effect::ZeroSecure, .. }
            )
        }
        Moment::Bounce { back } => matches!(event, Event::Bounce { back: its, .. } if *its == back),
        Moment::Completed => matches!(event, Event::Completed { data: true, .. }),
        Moment::Broken => matches!(event, Event::Broken { .. }),
        Moment::Report { kind } => {
            let Event::Report { report, .. } = event else { return false };
            kind.is_none_or(|kind| *report == kind.into())
        }
        Moment::Leak => matches!(event, Event::Leak { .. }),
        Moment::Compared => matches!(event, Event::Comparison { .. }),
        Moment::Flip => matches!(event, Event::Flip { .. }),
    }
}

/// Whether a step of its own tells of this event when a run is browsed that no chapter tells of.
pub fn is_told(event: &Event) -> bool {
    match event {
        Event::Page { op, effect, .. } => match op {
            PageOp::PageOut | PageOp::ShareCommit => true,
            PageOp::PageIn => *effect == Effect::Unseal,
            PageOp::UnshareCommit => *effect == Effect::ZeroSecure,
            PageOp::TakeIn
            | PageOp::InitDone
            | PageOp::InitAbort
            | PageOp::ShareBegin
            | PageOp::ShareRevert
            | PageOp::UnshareBegin
            | PageOp::UnshareGrant
            | PageOp::UnshareGranted
            | PageOp::UnshareRevert
            | PageOp::Inval
            | PageOp::Terminate => false,
        },
        Event::Tampered { .. }
        | Event::Life { .. }
        | Event::Measured { .. }
        | Event::Kick { .. }
        | Event::Completed { .. }
        | Event::Broken { .. }
        | Event::Sigbus { .. }
        | Event::Mark { .. }
        | Event::Secret { .. }
        | Event::Report { .. }
        | Event::Bounce { .. }
        | Event::Balloon { .. }
        | Event::Flip { .. }
        | Event::Plugged { .. }
        | Event::Leak { .. }
        | Event::Comparison { .. } => true,
        Event::Exit { .. }
        | Event::UvCall { .. }
        | Event::HvCall { .. }
        | Event::Touch { .. }
        | Event::Register { .. }
        | Event::Popped { .. }
        | Event::Interrupt { .. }
        | Event::Status { .. }
        | Event::Wait { .. }
        | Event::Retired { .. }
        | Event::Console { .. }
        | Event::Decision { .. }
        | Event::DmaMap { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Foreign { .. }
        | Event::IotlbMiss { .. }
        | Event::Frame { .. }
        | Event::Taken { .. }
        | Event::Woken { .. }
        | Event::Unwoken { .. }
        | Event::Actor { .. }
        | Event::Hot { .. }
        | Event::LeaksLeftOut { .. }
        | Event::IotlbHits { .. } => false,
    }
}
