//! Waivers: what they excuse, and what has to be told about them.

use super::Excuse;
use crate::scenario::policy::{Policy, Waiver};
use jiff::civil::Date;

/// The waiver about this rule and this run; one that still excuses before one that is past.
pub fn about(policy: &Policy, rule: &str, run: &str, today: Date) -> Option<Excuse> {
    let here = || policy.waivers.iter().filter(|waiver| is_about(waiver, rule, run));
    let valid = here().find(|waiver| !is_past(waiver, today));
    let Waiver { runs, until, reason, owner, .. } = valid.or_else(|| here().next())?;
    Some(Excuse {
        runs: runs.text().to_owned(),
        until: until.to_string(),
        expired: valid.is_none(),
        reason: reason.clone(),
        owner: owner.clone(),
    })
}

fn is_about(waiver: &Waiver, rule: &str, run: &str) -> bool {
    waiver.rule == rule && waiver.runs.takes(run)
}

/// A waiver excuses up to and on its last day.
fn is_past(waiver: &Waiver, today: Date) -> bool {
    today > waiver.until
}

/// One run judged by one rule.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The run id.
    pub run: &'a str,
    /// The rule's id.
    pub rule: &'a str,
    /// Whether the rule holds.
    pub holds: bool,
}

/// Waivers of `policy` whose patterns take none of these runs: what they are for has another name
/// now, or was not selected. One line for all of them.
pub fn nowhere<'r>(policy: &Policy, runs: impl Iterator<Item = &'r str> + Clone) -> Option<String> {
    let is_nowhere = |waiver: &&Waiver| !runs.clone().any(|run| waiver.runs.takes(run));
    let nowhere: Vec<&Waiver> = policy.waivers.iter().filter(is_nowhere).collect();
    let first = nowhere.first()?;
    let others = match nowhere.len() - 1 {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    Some(format!("{} means no run of this selection{others}", which(policy, first)))
}

fn which(policy: &Policy, waiver: &Waiver) -> String {
    let Waiver { rule, runs, owner, .. } = waiver;
    format!("the waiver of {} for {rule} in `{}` ({owner})", policy.name, runs.text())
}

/// The waivers of `policy` that are past.
pub fn past(policy: &Policy, today: Date) -> Vec<String> {
    let past = policy.waivers.iter().filter(|waiver| is_past(waiver, today));
    past.map(|waiver| format!("{} ended on {}", which(policy, waiver), waiver.until)).collect()
}

/// What to tell about the waivers of `policy`: those that are past, and those that excuse nothing
/// although their rule judged their runs. A waiver whose runs were not selected is not told.
pub fn notices(policy: &Policy, judged: &[Judged<'_>], today: Date) -> Vec<String> {
    let mut notices = Vec::new();
    for waiver in &policy.waivers {
        let mut here = judged.iter().filter(|one| is_about(waiver, one.rule, one.run)).peekable();
        if here.peek().is_none() {
            continue;
        }
        let red: Vec<_> = here.filter(|one| !one.holds).collect();
        let (which, until) = (which(policy, waiver), waiver.until);
        let is_denied = |one: &&Judged<'_>| {
            about(policy, one.rule, one.run, today).is_none_or(|excuse| excuse.expired)
        };
        let denied = red.iter().filter(|one| is_denied(one)).count();
        match (red.len(), is_past(waiver, today), denied) {
            (0, _, _) => notices.push(format!("{which} excuses nothing in this selection")),
            (_, true, 0) => {
                notices.push(format!("{which} ended on {until}; another excuses the same runs"));
            }
            (_, true, _) => {
                notices.push(format!("{which} ended on {until}: what it excused is denied again"));
            }
            (_, false, _) => (),
        }
    }
    notices
}
