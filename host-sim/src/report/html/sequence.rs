//! The sequence of guest, ultravisor, host and device around one page, repeats folded.

use super::{View, event, figure, inert};
use crate::output::words;
use crate::report::life::{Lane, Round, Step, Story};
use maud::{Markup, html};

const LANE: u32 = 190;
const LEFT: u32 = 90;
const ROW: u32 = 24;
const TOP: u32 = 40;

/// The picture of one run's page.
pub fn picture(view: &View<'_>, at: usize) -> Markup {
    let Some(story) = view.pics.story.as_ref().filter(|story| !story.rounds.is_empty()) else {
        return html! {};
    };
    let (mut y, mut placed) = (TOP, Vec::new());
    for round in &story.rounds {
        placed.push((y, round));
        y += ROW * round.steps.len() as u32 + 10;
    }
    let (width, height) = (LEFT + LANE * 3 + 190, y + 20);
    let drawing = html! {
        svg.sequence viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) {
            @for (lane, actor) in Lane::ALL.into_iter().enumerate() {
                @let x = LEFT + LANE * lane as u32;
                text x=(x) y="18" text-anchor="middle" { (actor.name()) }
                path.lane d=(format!("M{x} 24V{height}")) {}
            }
            @for (top, round) in &placed {
                @for (row, step) in round.steps.iter().enumerate() {
                    (message(step, top + ROW * row as u32))
                }
                (frame(round, *top, width))
            }
        }
    };
    let caption = format!(
        "Who did what to unit {:#x}, in order; a frame is a round that comes as often as it says",
        story.gfn
    );
    figure(&format!("r{at}-sequence"), &caption, drawing, table(view, story, at))
}

fn x(lane: Lane) -> u32 {
    let place = Lane::ALL.iter().position(|one| *one == lane).unwrap_or(0);
    LEFT + LANE * place as u32
}

fn message(step: &Step, y: u32) -> Markup {
    let (from, to) = (x(step.from), x(step.to));
    let base = y + 12;
    let (line, head) = match to.cmp(&from) {
        std::cmp::Ordering::Equal => {
            (format!("M{from} {base}h20"), format!("M{} {}h7v7h-7z", from + 20, base - 4))
        }
        std::cmp::Ordering::Less => (
            format!("M{from} {base}H{to}"),
            format!("M{} {}L{to} {base}L{} {}z", to + 7, base - 4, to + 7, base + 4),
        ),
        std::cmp::Ordering::Greater => (
            format!("M{from} {base}H{to}"),
            format!("M{} {}L{to} {base}L{} {}z", to - 7, base - 4, to - 7, base + 4),
        ),
    };
    let many = if step.events > 1 { format!(" ×{}", step.events) } else { String::new() };
    let cost = match step.cost_ns {
        0 => String::new(),
        ns => format!(", {}", words::time(ns)),
    };
    let text = if from == to { from + 32 } else { from.min(to) + 8 };
    html! {
        g class=(format!("k-{}", step.kind.name())) {
            title { (inert(&step.sentence)) }
            path.shaft d=(line) {}
            path.head d=(head) {}
            text.small x=(text) y=(base - 4) {
                tspan.letter { (step.kind.glyph()) } " " (inert(&step.short)) (many) (cost)
            }
        }
    }
}

/// The frame around a round.
fn frame(round: &Round, top: u32, width: u32) -> Markup {
    if round.times < 2 {
        return html! {};
    }
    let height = ROW * round.steps.len() as u32 + 2;
    html! {
        rect.loop x="8" y=(top - 4) width=(width - 16) height=(height) {}
        text.loop x="14" y=(top + 14) { "×" (round.times) }
    }
}

fn table(view: &View<'_>, story: &Story, at: usize) -> Markup {
    html! {
        table {
            thead { tr { th.n { "times" } th { "from" } th { "to" } th { "what" } th { "state after" }
                th.n { "cost each" } th { "first event" } } }
            tbody {
                @for round in &story.rounds {
                    @for (row, step) in round.steps.iter().enumerate() {
                        tr {
                            td.n { @if row == 0 { "×" (round.times) } }
                            td { (step.from.name()) } td { (step.to.name()) }
                            td { (inert(&step.short)) @if step.events > 1 { " ×" (step.events) } }
                            td { (step.state.name()) }
                            td.n { (words::time(step.cost_ns)) }
                            td { (event(view, at, step.seq)) }
                        }
                    }
                }
            }
        }
        @if story.left_out > 0 { p { (story.left_out) " more steps are not shown." } }
    }
}
