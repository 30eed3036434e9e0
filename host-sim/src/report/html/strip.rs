//! The verdict strip: how it came out, how to repeat it, what it was made from.

use super::{Page, Run, inert};
use crate::outcome::Outcome;
use crate::output::words;
use crate::verdict::{Check, Verdict};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// A glyph for an outcome, so that colour is not all.
pub const fn glyph(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Clean => "✓",
        Outcome::Slow => "↻",
        Outcome::Refused => "⊘",
        Outcome::Failed => "✗",
        Outcome::Stuck => "∞",
        Outcome::Crashed => "☠",
        Outcome::Tampered => "≠",
        Outcome::Corrupted => "≢",
        Outcome::Leaked => "◉",
        Outcome::Unsupported => "?",
    }
}

/// An outcome with its glyph.
pub fn outcome(outcome: Outcome) -> Markup {
    let class = match outcome {
        Outcome::Clean => "good",
        Outcome::Slow | Outcome::Refused => "fair",
        Outcome::Failed
        | Outcome::Stuck
        | Outcome::Crashed
        | Outcome::Tampered
        | Outcome::Corrupted
        | Outcome::Leaked
        | Outcome::Unsupported => "bad",
    };
    html! { span class=(format!("mark {class}")) { (glyph(outcome)) " " (outcome.name()) } }
}

/// What is known of a run's verdict: the command's, else the saved checks'.
pub fn verdict(run: &Run) -> Verdict {
    run.judgement.verdict.unwrap_or_else(|| run.digest.sum.verdict())
}

/// A verdict in words.
pub const fn verdict_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "as expected",
        Verdict::Fail => "NOT as expected",
        Verdict::ExpectedFailure => "fails as is known",
        Verdict::None => "nothing expected",
    }
}

/// The strip over all runs.
pub fn all(page: &Page) -> Markup {
    let (mut outcomes, mut verdicts) = (BTreeMap::new(), BTreeMap::new());
    let mut inputs: BTreeMap<&str, &str> = BTreeMap::new();
    for run in &page.runs {
        *outcomes.entry(run.digest.sum.outcome()).or_insert(0) += 1;
        *verdicts.entry(verdict_words(verdict(run))).or_insert(0) += 1;
        let source = &run.digest.sum.head.source;
        inputs.extend(source.inputs.iter().map(|(file, hash)| (file.as_str(), hash.as_str())));
    }
    html! {
        div.strip {
            p.counts {
                @for (kind, count) in &outcomes { span.tile { b { (count) } " " (outcome(*kind)) } }
                @for (words, count) in &verdicts { span.tile { b { (count) } " " (words) } }
            }
            @if let Some(conclusion) = &page.conclusion { p { (inert(conclusion)) } }
            p { "This page again: " code { (inert(&page.command)) } }
            details {
                summary { "Input files and their BLAKE3" }
                table {
                    thead { tr { th { "file" } th { "BLAKE3" } } }
                    tbody {
                        @for (file, hash) in &inputs {
                            tr { td { (inert(file)) } td { code { (inert(hash)) } } }
                        }
                    }
                }
            }
        }
    }
}

/// The strip of one run.
pub fn one(run: &Run) -> Markup {
    let digest = &run.digest.sum;
    let head = &digest.head;
    html! {
        p.counts {
            span.tile { (outcome(digest.outcome())) }
            span.tile { (verdict_words(verdict(run))) }
            span.tile { "ended: " (head.ended) }
            span.tile { (words::time(digest.end_ns)) " of virtual time" }
            span.tile { (digest.events) " events" }
            @if head.facts.what_if { span.tile { "what if: pages are not sealed" } }
        }
        @if !digest.stood.is_empty() {
            p { "At the end:" }
            ul.stood { @for line in &digest.stood { li { (inert(line)) } } }
        }
        p { "This run again: " code { (inert(&head.source.repeat)) } }
        details {
            summary { "Checks, plan and hash" }
            @if head.checks.is_empty() {
                p { "The scenario expected nothing of this run." }
            } @else {
                table {
                    thead { tr { th { "check" } th { "verdict" } th { "expected" } th { "found" } } }
                    tbody { @for check in &head.checks { (check_row(check)) } }
                }
            }
            @for rule in &run.judgement.rules { p { (inert(rule)) } }
            p { "BLAKE3 over the events: " code { (inert(&head.hash)) } }
            p { "The plan: " code.plan { (escape_long(&head.plan.to_string())) } }
        }
    }
}

fn check_row(check: &Check) -> Markup {
    html! {
        tr {
            td { (inert(&check.id)) }
            td { (check.verdict.name().replace('_', " ")) }
            td { (inert(&check.expected)) }
            td { (inert(&check.found)) @if let Some(why) = &check.known { " [" (inert(why)) "]" } }
        }
    }
}

/// A plan may list many devices and operations.
fn escape_long(text: &str) -> String {
    crate::escape::terminal_cut(text, 8000)
}
