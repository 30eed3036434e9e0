//! The table of runs, with links into their articles.

use super::strip::{outcome, verdict, verdict_words};
use super::{Page, Run, inert};
use crate::counters::{Counter, Phase};
use crate::output::words;
use maud::{Markup, html};

/// The table; the script adds the filter's effect.
pub fn table(page: &Page, articles: &[Option<String>]) -> Markup {
    html! {
        div.runs {
            p.controls hidden {
                label { "filter runs: " input.filter type="search" size="40"; }
                " " span.count role="status" {}
            }
            div.scroll {
                table.sortable {
                    thead { tr {
                        th { "run" } th { "design" } th { "outcome" } th { "verdict" }
                        th.n { "requests" } th.n { "conversions init" } th.n { "conversions steady" }
                        th.n { "round trips steady" } th.n { "bounces" } th.n { "virtual time" }
                    } }
                    tbody {
                        @for (at, run) in page.runs.iter().enumerate() {
                            (row(run, at, articles.get(at).is_some_and(Option::is_some)))
                        }
                    }
                }
            }
        }
    }
}

fn row(run: &Run, at: usize, has_article: bool) -> Markup {
    let digest = &run.digest.sum;
    let counters = &digest.counters;
    let steady = |counter| counters.get(counter, Phase::Steady);
    let linked = |counter: Counter, value: u64| {
        if has_article && value > 0 {
            html! { a href=(format!("#r{at}-{}", counter.name())) { (value) } }
        } else {
            html! { (value) }
        }
    };
    let id = inert(&digest.head.run);
    html! {
        tr {
            td { @if has_article { a href=(format!("#r{at}")) { (id) } } @else { (id) } }
            td { (inert(digest.head.facts.design.as_deref().unwrap_or("-"))) }
            td { (outcome(digest.outcome())) }
            td { (verdict_words(verdict(run))) }
            td.n { (linked(Counter::Requests, steady(Counter::Requests))) }
            td.n { (counters.conversions(&[Phase::Init])) }
            td.n { (counters.conversions(&[Phase::Steady])) }
            td.n { (linked(Counter::RoundTrips, steady(Counter::RoundTrips))) }
            td.n { (linked(Counter::BounceCopies, steady(Counter::BounceCopies))) }
            td.n data-value=(digest.end_ns) { (words::time(digest.end_ns)) }
        }
    }
}
