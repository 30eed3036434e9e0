//! How full the swiotlb pool was over virtual time.

use super::{View, event, figure};
use crate::report::slots::SLOT_BYTES;
use maud::{Markup, html};
use std::fmt::Write;

const LEFT: u32 = 60;
const HEIGHT: u32 = 110;
const BIN: u32 = 3;

/// The picture of one run; nothing where nothing bounced.
pub fn picture(view: &View<'_>, at: usize) -> Markup {
    let slots = &view.pics.slots;
    if slots.copies == 0 || slots.high == 0 {
        return html! { p { "swiotlb: no mapping of this run bounced." } };
    }
    let scale = |used: u64| {
        let high = u128::from(used) * u128::from(HEIGHT - 20) / u128::from(slots.high.max(1));
        u32::try_from(high).unwrap_or(HEIGHT)
    };
    let mut area = format!("M{LEFT} {HEIGHT}");
    for (bin, used) in slots.bins.iter().enumerate() {
        let x = LEFT + BIN * bin as u32;
        write!(area, "L{x} {y}h{BIN}", y = HEIGHT - scale(*used)).expect("a String");
    }
    let width = LEFT + BIN * slots.bins.len() as u32;
    write!(area, "L{width} {HEIGHT}z").expect("a String");
    let drawing = html! {
        svg.slots viewBox=(format!("0 0 {} {}", width + 20, HEIGHT + 20)) width=(width + 20)
            height=(HEIGHT + 20) {
            path.area d=(area) {}
            path.area.over d=(area) {}
            path.axis d=(format!("M{LEFT} {HEIGHT}H{width}M{LEFT} 10V{HEIGHT}")) {}
            text.small x=(LEFT - 6) y="26" text-anchor="end" { (slots.high) " slots" }
            text.small x=(LEFT - 6) y=(HEIGHT) text-anchor="end" { "0" }
            @for stretch in &view.pics.timeline.stretches {
                text.small x=(LEFT + BIN * stretch.first + 3) y=(HEIGHT + 14) { (stretch.phase.name()) }
            }
        }
    };
    let table = html! {
        table {
            tbody {
                tr { th { "pool" } td.n { (view.sum.head.facts.machine.swiotlb_bytes / SLOT_BYTES)
                    " slots of " (SLOT_BYTES) " bytes" } }
                tr { th { "most at once" } td.n { (slots.high) " slots, at event "
                    (event(view, at, slots.high_seq)) } }
                tr { th { "mappings that bounced" } td.n { (slots.mappings) } }
                tr { th { "copies" } td.n { (slots.copies) } }
            }
        }
    };
    figure(&format!("r{at}-swiotlb"), "swiotlb slots in use", drawing, table)
}
