//! One page's life: a lane for each actor, an arrow for each step, and the state that came of it.

use super::{View, event, figure, inert};
use crate::output::words;
use crate::report::life::{Lane, Step, Story};
use crate::report::pages::Shade;
use maud::{Markup, html};

const LEFT: u32 = 84;
const STEP: u32 = 30;
const TOP: u32 = 30;
const LANE: u32 = 36;
const BAND: u32 = TOP + 4 * LANE;

/// The picture of one run's page.
pub fn picture(view: &View<'_>, at: usize) -> Markup {
    let Some(life) = &view.pics.story else { return html! {} };
    let steps = life.first.as_slice();
    if steps.is_empty() {
        return html! { p { "Nothing happened to unit " (format!("{:#x}", life.gfn)) "." } };
    }
    let start = life.gfn.saturating_mul(view.sum.head.facts.machine.unit.bytes());
    let caption = format!(
        "The life of unit {:#x} (at {start:#x}): its first {} of {} steps",
        life.gfn,
        steps.len(),
        life.total
    );
    let (width, height) = (LEFT + STEP * steps.len() as u32 + 40, BAND + 34);
    let drawing = html! {
        svg.life viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) {
            rect.cursor x=(LEFT) y="2" width=(STEP) height=(height - 6) {}
            @for (lane, actor) in Lane::ALL.into_iter().enumerate() {
                @let y = TOP + LANE * lane as u32 + LANE / 2;
                text x="4" y=(y + 4) { (actor.name()) }
                path.lane d=(format!("M{LEFT} {y}H{width}")) {}
            }
            text x="4" y=(BAND + 17) { "state" }
            @for (number, step) in steps.iter().enumerate() { (arrow(step, number as u32)) }
        }
    };
    html! {
        section.life id=(format!("r{at}-life")) {
            (figure(&format!("r{at}-page"), &caption, drawing, table(view, life, steps, at)))
            (controls(view, steps, at))
        }
    }
}

fn shade(step: &Step) -> &'static str {
    match step.state {
        Shade::Normal => "s-normal",
        Shade::Secure => "s-secure",
        Shade::Shared => "s-shared",
        Shade::PagedOut => "s-out",
    }
}

fn y(lane: Lane) -> u32 {
    let place = Lane::ALL.iter().position(|one| *one == lane).unwrap_or(0);
    TOP + LANE * place as u32 + LANE / 2
}

/// One step: an arrow from lane to lane, its letter, its cost, and the state after it.
fn arrow(step: &Step, number: u32) -> Markup {
    let x = LEFT + STEP * number + STEP / 2;
    let (from, to) = (y(step.from), y(step.to));
    let head = match to.cmp(&from) {
        std::cmp::Ordering::Less => format!("M{} {}L{x} {to}L{} {}z", x - 4, to + 7, x + 4, to + 7),
        std::cmp::Ordering::Equal => format!("M{} {}h8v8h-8z", x - 4, to - 4),
        std::cmp::Ordering::Greater => {
            format!("M{} {}L{x} {to}L{} {}z", x - 4, to - 7, x + 4, to - 7)
        }
    };
    let left = LEFT + STEP * number;
    html! {
        g class=(format!("k-{}", step.kind.name())) {
            title { (inert(&step.sentence)) }
            @if from != to { path.shaft d=(format!("M{x} {from}V{to}")) {} }
            path.head d=(head) {}
            text.letter x=(x + 5) y=((from + to) / 2 + 4) { (step.kind.glyph()) }
            @if step.cost_ns >= 1000 {
                text.cost x=(x) y=(if number.is_multiple_of(2) { 12 } else { 24 }) text-anchor="middle" {
                    (brief(step.cost_ns))
                }
            }
        }
        rect class=(shade(step)) x=(left) y=(BAND + 4) width=(STEP) height="20" {}
        rect class=(format!("{} over", shade(step))) x=(left) y=(BAND + 4) width=(STEP) height="20" {}
    }
}

/// A cost in at most six characters.
fn brief(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}us", ns / 1000),
        _ => format!("{}.{}ms", ns / 1_000_000, ns % 1_000_000 / 100_000),
    }
}

/// Slider and buttons, which the script shows, and the sentence for the chosen step.
fn controls(view: &View<'_>, steps: &[Step], at: usize) -> Markup {
    let last = steps.len().saturating_sub(1);
    html! {
        div.controls hidden {
            button type="button" data-go="back" { "◀ step (b)" }
            button type="button" data-go="next" { "step (n) ▶" }
            button type="button" data-go="conversion-back" { "◀ conversion (B)" }
            button type="button" data-go="conversion" { "conversion (N) ▶" }
            label { "step "
                input.slider type="range" min="0" max=(last) value="0" step="1"; }
        }
        p.sentence role="status" { "1. " (inert(&steps[0].sentence)) }
        details.steps {
            summary { "All steps in words" }
            ol {
                @for step in steps {
                    li data-converts=(u8::from(step.kind.converts())) {
                        (words::time(step.t_ns)) ": " (inert(&step.sentence))
                        @if step.events > 1 { " (" (step.events) " touches in a row)" }
                        @if step.cost_ns > 0 { ", costs " (words::time(step.cost_ns)) }
                        @if let Some(function) = &step.function { ", from " code { (inert(function)) } }
                        " [event " (event(view, at, step.seq)) "]"
                    }
                }
            }
        }
    }
}

fn table(view: &View<'_>, life: &Story, steps: &[Step], at: usize) -> Markup {
    html! {
        table {
            thead { tr {
                th { "step" } th { "time" } th { "from" } th { "to" } th { "what" } th { "state after" }
                th.n { "cost" } th { "event" }
            } }
            tbody {
                @for (number, step) in steps.iter().enumerate() {
                    tr {
                        td.n { (number + 1) }
                        td.n { (words::time(step.t_ns)) }
                        td { (step.from.name()) } td { (step.to.name()) }
                        td { b { (step.kind.glyph()) } " " (inert(&step.short)) }
                        td { (step.state.name()) }
                        td.n { (words::time(step.cost_ns)) }
                        td { (event(view, at, step.seq)) }
                    }
                }
            }
        }
        @if life.total > steps.len() as u64 {
            p { "The other steps are in the sequence below, repeats folded." }
        }
    }
}
