//! Lines for people: one a run, what explains an unexpected one, and why the exit code is what it
//! is. At most 100 columns wide, but for commands to copy.

use super::explain::{self, Explanation};
use super::words;
use crate::counters::{Counter, Phase};
use crate::debate::Settled;
use crate::escape::{self, shell_word};
use crate::log::RunLog;
use crate::policy::Ruling;
use crate::scenario::plan::Plan;
use crate::scenario::policy::{Level, Policy};
use crate::verdict::{Judged, Verdict};
use jiff::civil::Date;
use std::fmt::Write;

/// Widest label that stands on the line of its numbers.
const LABEL_COLUMNS: usize = 34;

/// Colours, if they are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The first line: what the columns are.
pub fn header() -> String {
    format!(
        "{:8}{:LABEL_COLUMNS$} {:11}{:>12}{:>12}{:>9}{:>12}\n",
        "", "", "outcome", "round trips", "conversions", "bounces", "time"
    )
}

/// The line above a scenario's runs.
pub fn scenario(plan: &Plan) -> String {
    words::wrapped(&format!("{}  ", plan.scenario), &escape::terminal_cut(&plan.about, 400))
}

/// What tells a run from its scenario's other runs: the design's name and `axis=value`s.
fn label(plan: &Plan) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Some(design) = &plan.design {
        parts.push(design.clone());
    }
    let others = plan.axes.iter().filter(|(axis, _)| axis != "design");
    parts.extend(others.map(|(axis, value)| format!("{axis}={value}")));
    if plan.what_if() {
        parts.push("what-if".to_owned());
    }
    escape::terminal(&parts.join(" "))
}

/// The line of a run.
pub fn run(plan: &Plan, judged: &Judged, paint: Paint) -> String {
    let (word, color) = match judged.verdict {
        Verdict::Pass => ("ok", "32"),
        Verdict::Fail => ("FAIL", "1;31"),
        Verdict::ExpectedFailure => ("xfail", "33"),
        Verdict::None if judged.unjudged => ("?", "33"),
        Verdict::None => ("-", "2"),
    };
    let verdict = format!("  {}{}", paint.with(color, word), " ".repeat(6 - word.len()));
    let label = label(plan);
    let counters = &judged.counters;
    let conversions = format!(
        "{}+{}",
        counters.conversions(&[Phase::Init]),
        counters.conversions(&[Phase::Steady, Phase::After])
    );
    let numbers = format!(
        "{:11}{:>12}{conversions:>12}{:>9}{:>12}",
        judged.outcome.name(),
        counters.get(Counter::RoundTrips, Phase::Steady),
        counters.get(Counter::BounceCopies, Phase::Steady),
        words::time(counters.sum(Counter::TimeNs, &Phase::ALL)),
    );
    if label.chars().count() <= LABEL_COLUMNS {
        return format!("{verdict}{label:LABEL_COLUMNS$} {numbers}\n");
    }
    let lines = words::wrapped(&" ".repeat(8), &label);
    format!("{verdict}{}{:8}{:LABEL_COLUMNS$} {numbers}\n", lines.trim_start(), "", "")
}

/// All that a run's guest printed, above its line.
pub fn console(plan: &Plan, log: &RunLog) -> String {
    let lines = explain::console(plan, log, usize::MAX, usize::MAX);
    let lines = lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
    format!("\nconsole of {}{}\n{lines}", plan.id, if lines.is_empty() { ": nothing" } else { "" })
}

/// What is known to fail in a run, what is waived, and rules that only warn.
pub fn excused(judged: &Judged, rulings: &[Ruling]) -> String {
    let mut out = String::new();
    let mut tell = |first: &str, text: String| {
        let first = format!("          {first:8}");
        out.push_str(&words::wrapped(&first, &escape::terminal_cut(&text, 600)));
    };
    for check in judged.checks.iter().filter(|check| check.verdict == Verdict::ExpectedFailure) {
        let why = check.known.as_deref().unwrap_or_default();
        tell("known", format!("{}: {why}", check.id));
    }
    for ruling in rulings {
        match (&ruling.waiver, ruling.verdict, ruling.level) {
            (Some(waiver), Verdict::ExpectedFailure, _) => tell(
                "waived",
                format!(
                    "{} {} until {} ({}): {}",
                    ruling.policy, ruling.rule, waiver.until, waiver.owner, waiver.reason
                ),
            ),
            (_, Verdict::Fail, Level::Warn) => tell("warning", ruling.sentence()),
            _ => (),
        }
    }
    out
}

/// What explains an unexpected result.
pub fn unexpected(
    plan: &Plan,
    ended: &str,
    judged: &Judged,
    rulings: &[Ruling],
    (explanation, more): (&Explanation, &str),
) -> String {
    let mut out = words::wrapped("        FAIL  ", &plan.id);
    for check in judged.checks.iter().filter(|check| check.verdict == Verdict::Fail) {
        let text = format!("{}: expected {}; found {}", check.id, check.expected, check.found);
        out.push_str(&words::wrapped("          ", &escape::terminal_cut(&text, 600)));
    }
    for ruling in rulings.iter().filter(|ruling| ruling.denies()) {
        let text = escape::terminal_cut(&ruling.sentence(), 600);
        out.push_str(&words::wrapped("          ", &text));
        if let Some(help) = &ruling.help {
            out.push_str(&words::wrapped("          help    ", &escape::terminal_cut(help, 400)));
        }
    }
    let ended = escape::terminal(&format!("ended {ended}"));
    out.push_str(&words::wrapped("          ", &ended));
    for line in &explanation.lines {
        out.push_str(&words::wrapped("            ", line));
    }
    for line in &explanation.stuck {
        out.push_str(&words::wrapped("          stuck   ", line));
    }
    for line in &explanation.console {
        out.push_str(&words::wrapped("          console ", line));
    }
    if let Some(guilty) = &explanation.guilty {
        out.push_str(&words::wrapped("          guilty  ", guilty));
    }
    writeln!(out, "          more    {}", escape::terminal(more))
        .expect("a String takes everything");
    out
}

/// What the numbers mean; printed once, after the runs.
pub fn legend(any_what_if: bool) -> String {
    let mut text = "Round trips and bounces: in steady state. Conversions: initialisation + the rest. Time is \
                    modelled, from estimates, not measured; polling guests pay for no interrupt or wake-up."
        .to_owned();
    if any_what_if {
        text.push_str(
            " what-if: pages are not really sealed; it shows what would follow if I/O went on.",
        );
    }
    words::wrapped("", &text)
}

/// The findings about the thread's claims, if there are any.
pub fn claims(claims: &[Settled]) -> String {
    let mut out = String::new();
    if !claims.is_empty() {
        out.push_str("\nclaims of the thread\n");
    }
    for claim in claims {
        let word = if claim.holds { "" } else { "NOT BORNE OUT" };
        let first = format!("  {:>2}  {:14}  {word:13}  ", claim.number, claim.finding.name());
        let condition =
            claim.condition.as_ref().map_or_else(String::new, |text| format!(" [{text}]"));
        let text = format!("{}{condition}", claim.says);
        out.push_str(&words::wrapped(&first, &escape::terminal_cut(&text, 600)));
    }
    out
}

/// The policies that judge, and by which day their waivers do.
pub fn policies(policies: &[Policy], today: &str) -> String {
    if policies.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    let what = if names.len() == 1 { "policy" } else { "policies" };
    words::wrapped(&format!("{what}  "), &format!("{}, as of {today}", names.join(", ")))
}

/// The command `repeat` with the policies that judged, and the day that was given for their waivers.
pub fn under(repeat: &str, policies: &[Policy], day: Option<Date>) -> String {
    let mut command = repeat.to_owned();
    for policy in policies {
        command.push_str(&format!(" --policy {}", shell_word(&policy.source.path)));
    }
    if let Some(day) = day.filter(|_| !policies.is_empty()) {
        command.push_str(&format!(" --today {day}"));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_legend_fit() {
        let text = format!("{}{}", header(), legend(true));
        assert!(text.lines().all(|line| line.chars().count() <= words::COLUMNS));
    }
}
