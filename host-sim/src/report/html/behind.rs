//! Every number with the events behind it, and those events as the file has them.

use super::{View, event, inert};
use crate::counters::{Counter, Phase};
use crate::output::words;
use maud::{Markup, html};

/// The table of counters, each number with its first events.
pub fn numbers(view: &View<'_>, at: usize) -> Markup {
    let counters = &view.sum.counters;
    let met = Counter::ALL
        .iter()
        .copied()
        .filter(|counter| *counter != Counter::TimeNs && counters.sum(*counter, &Phase::ALL) > 0);
    html! {
        section {
            h3 { "Numbers, and the events behind them" }
            div.scroll { table {
                thead { tr { th { "counter" } th { "what it counts" }
                    @for phase in Phase::ALL { th.n { (phase.name()) } }
                    th { "first events, steady state first" } } }
                tbody {
                    @for counter in met {
                        tr id=(format!("r{at}-{}", counter.name())) {
                            td { code { (counter.name()) } }
                            td { (counter.sentence()) }
                            @for phase in Phase::ALL { td.n { (counters.get(counter, phase)) } }
                            td {
                                @for phase in [Phase::Steady, Phase::Init, Phase::After] {
                                    (first(view, at, counter, phase))
                                }
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn first(view: &View<'_>, at: usize, counter: Counter, phase: Phase) -> Markup {
    let (seqs, events) = view.pics.behind.get(counter, phase);
    html! {
        @if !seqs.is_empty() {
            span.seqs {
                (phase.name()) ": "
                @for seq in seqs { (event(view, at, *seq)) " " }
                @if events > seqs.len() as u64 { "of " (events) }
            } " "
        }
    }
}

/// The events that something points to.
pub fn events(view: &View<'_>, at: usize) -> Markup {
    html! {
        section {
            h3 { "Events" }
            p { "Those that a number or a picture points to, " (view.pics.shown.len()) " of "
                (view.sum.events) ". All of them: record the run again with "
                code { "--report events=events.ndjson" } "; the number is the event's " code { "seq" } "." }
            details.events {
                summary { "Show them" }
                div.scroll { table {
                    thead { tr { th.n { "seq" } th.n { "time" } th { "what happened, and its line" } } }
                    tbody {
                        @for (seq, shown) in &view.pics.shown {
                            tr id=(format!("r{at}-e{seq}")) {
                                td.n { (seq) }
                                td.n { (words::time(shown.t_ns)) }
                                td { (inert(&shown.sentence)) br; code.line { (inert(&shown.line)) } }
                            }
                        }
                    }
                } }
            }
        }
    }
}
