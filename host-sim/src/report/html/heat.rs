//! The page-state heat map: pages by what they hold, over virtual time.

use super::{View, event, figure, inert};
use crate::escape;
use crate::output::words;
use crate::report::pages::{Row, Shade};
use crate::report::timeline::BINS;
use maud::{Markup, html};
use std::fmt::Write;

const LEFT: u32 = 330;
const BIN: u32 = 3;
const ROW: u32 = 15;
const TOP: u32 = 26;
/// What a row's label may have in characters.
const LABEL_MAX: usize = 27;
/// Cells with a tooltip of their own, at most.
const TIPS_MAX: usize = 3000;

/// Rows of one kind, each with where it is drawn.
struct Group<'a> {
    top: u32,
    name: &'static str,
    rows: Vec<(u32, &'a Row)>,
}

/// The picture of one run.
pub fn picture(view: &View<'_>, at: usize) -> Markup {
    let pages = &view.pics.pages;
    if pages.rows.is_empty() {
        return html! { p { "No page was touched by the host side or converted." } };
    }
    let mut y = TOP;
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in &pages.rows {
        let name = row.page.group().name();
        if groups.last().is_none_or(|group| group.name != name) {
            y += 4;
            groups.push(Group { top: y, name, rows: Vec::new() });
        }
        if let Some(group) = groups.last_mut() {
            group.rows.push((y, row));
        }
        y += ROW;
    }
    let (width, height) = (LEFT + BINS * BIN + 150, y + 8);
    let tips = pages.rows.iter().map(|row| row.page.converted.len()).sum::<usize>() <= TIPS_MAX;
    let drawing = html! {
        (legend())
        svg.heat viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) {
            @for Group { top, name, rows } in &groups {
                text.group x="4" y=(top + 11) { (name) }
                @for (y, row) in rows { (drawn(view, row, *y, tips)) }
            }
            (axis(view, height))
        }
    };
    let caption = "Which state each page was in when. A tick is a conversion, the higher the more: a \
                   page that flickers is a comb";
    figure(&format!("r{at}-heat"), caption, drawing, table(view, at))
}

fn legend() -> Markup {
    html! {
        p.legend {
            @for shade in Shade::ALL {
                span.key { svg width="22" height="14" {
                    rect class=(class(shade)) width="22" height="14" {}
                    rect class=(format!("{} over", class(shade))) width="22" height="14" {}
                } " " (shade.name()) }
            }
            span.key { svg width="14" height="14" { path.tick d="M3 14V4M7 14V1M11 14V6" {} } " converted" }
        }
    }
}

fn class(shade: Shade) -> &'static str {
    match shade {
        Shade::Normal => "s-normal",
        Shade::Secure => "s-secure",
        Shade::Shared => "s-shared",
        Shade::PagedOut => "s-out",
    }
}

/// The row's name, short enough for its place.
fn name(view: &View<'_>, row: &Row) -> String {
    let bytes = view.sum.head.facts.machine.unit.bytes();
    let start = row.gfn.saturating_mul(bytes);
    let many = if row.pages > 1 { format!(" ×{}", row.pages) } else { String::new() };
    let label = escape::terminal_cut(&row.page.label(), LABEL_MAX);
    format!("{start:#x}{many} {label}")
}

/// One row: a path for each state, and the ticks over them.
fn drawn(view: &View<'_>, row: &Row, y: u32, tips: bool) -> Markup {
    let page = &row.page;
    let mut paths: [String; 4] = Default::default();
    for (at, (bin, shade)) in page.states.iter().enumerate() {
        let past = page.states.get(at + 1).map_or(BINS, |(next, _)| *next);
        let place = Shade::ALL.iter().position(|one| one == shade).unwrap_or(0);
        // A state that came and went within one bin is what it left behind.
        let wide = (past - bin).max(1) * BIN;
        write!(paths[place], "M{} {y}h{wide}v{}h-{wide}z", LEFT + bin * BIN, ROW - 2)
            .expect("writing into a String cannot fail");
    }
    let high = |count: u32| 4 + (ROW - 6).min(count.ilog2() * 2);
    let mut ticks = String::new();
    for (bin, count) in &page.converted {
        let (x, base) = (LEFT + bin * BIN + 1, y + ROW - 2);
        write!(ticks, "M{x} {base}v-{}", high((*count).max(1))).expect("a String");
    }
    html! {
        g {
            title { (name(view, row)) ": " (counts(row)) }
            text.small x=(LEFT - 6) y=(y + 10) text-anchor="end" { (name(view, row)) }
            @for (shade, path) in Shade::ALL.into_iter().zip(&paths) {
                @if !path.is_empty() {
                    path class=(class(shade)) d=(path) {}
                    path class=(format!("{} over", class(shade))) d=(path) {}
                }
            }
            @if !ticks.is_empty() { path.tick d=(ticks) {} }
            text.small x=(LEFT + BINS * BIN + 6) y=(y + 10) { (short(row)) }
        }
        @if tips {
            @for (bin, count) in &page.converted {
                rect.tip x=(LEFT + bin * BIN) y=(y) width=(BIN) height=(ROW - 2) {
                    title { (count) " conversions here" }
                }
            }
        }
    }
}

fn short(row: &Row) -> String {
    let page = &row.page;
    match (page.outs, page.conversions()) {
        (0, 0) if page.touches == 0 => String::new(),
        (0, 0) => format!("{} touches", page.touches),
        (0, many) => format!("{many} conversions"),
        (outs, _) => format!("{outs} out, {} in", page.ins),
    }
}

fn counts(row: &Row) -> String {
    let page = &row.page;
    format!(
        "{} page-outs, {} page-ins, {} shares, {} unshares, {} touches",
        page.outs, page.ins, page.shares, page.unshares, page.touches
    )
}

/// The phases and their times.
fn axis(view: &View<'_>, height: u32) -> Markup {
    html! {
        @for stretch in &view.pics.timeline.stretches {
            @let x = LEFT + stretch.first * BIN;
            @let wide = (stretch.past - stretch.first) * BIN;
            path.axis d=(format!("M{x} {}V{height}", TOP - 8)) {}
            text.small x=(x + 3) y="10" { (stretch.phase.name()) }
            @if wide > 60 {
                text.small x=(x + 3) y="22" {
                    (words::time(stretch.from_ns)) " to " (words::time(stretch.to_ns))
                }
            }
        }
    }
}

fn table(view: &View<'_>, at: usize) -> Markup {
    let pages = &view.pics.pages;
    html! {
        table {
            thead { tr {
                th { "unit" } th { "pages" } th { "holds" }
                th.n { "page-outs" } th.n { "page-ins" } th.n { "shares" } th.n { "unshares" }
                th.n { "touches" } th { "first event" }
            } }
            tbody {
                @for row in &pages.rows {
                    @let page = &row.page;
                    tr {
                        td { code { (format!("{:#x}", row.gfn)) } }
                        td.n { (row.pages) }
                        td { (page.group().name()) ": " (inert(&page.label())) }
                        td.n { (page.outs) } td.n { (page.ins) }
                        td.n { (page.shares) } td.n { (page.unshares) } td.n { (page.touches) }
                        td { @if let Some(seq) = page.first_seq { (event(view, at, seq)) } }
                    }
                }
            }
        }
        p { (pages.left_out.0) " more pages with " (pages.left_out.1) " conversions, and "
            (pages.quiet) " that were only taken in." }
    }
}
