//! Design bars: where virtual time went, initialisation and steady state apart, and who must act.

use super::strip::outcome;
use super::{Page, Run, figure, inert};
use crate::counters::Phase;
use crate::output::words;
use crate::report::spent::Work;
use crate::scenario::design::{Layer, natural_order};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Bars of one by one, up to this many runs; of more, one for each design.
const RUNS_MAX: usize = 24;
/// Width of the longest bar.
const WIDTH: f64 = 820.0;
/// Where bars begin: behind the name of their phase.
const LEFT: f64 = 52.0;
/// Room behind the longest bar, for its time.
const RIGHT: f64 = 98.0;
/// Height of one row: its label, then a bar for each phase.
const ROW: f64 = 56.0;
/// What a row's label may have in characters, with who must act behind it.
const LABEL_MAX: usize = 130;

/// One row: a run, or the mean of a design's runs.
struct Bar {
    label: String,
    outcome: Option<crate::outcome::Outcome>,
    acting: Option<Vec<Layer>>,
    runs: u64,
    ns: BTreeMap<(Phase, Work), u64>,
}

impl Bar {
    fn of(label: String, runs: &[&Run]) -> Self {
        let mut ns = BTreeMap::new();
        for run in runs {
            for phase in [Phase::Init, Phase::Steady] {
                for work in Work::ALL {
                    let sum = ns.entry((phase, work)).or_insert(0_u64);
                    *sum = sum.saturating_add(run.digest.sum.spent.get(phase, work));
                }
            }
        }
        let count = runs.len() as u64;
        ns.values_mut().for_each(|sum| *sum /= count.max(1));
        let first = runs.first().map(|run| &run.digest.sum);
        let same = |digest: &&crate::report::digest::Summary| {
            runs.iter().all(|run| run.digest.sum.outcome() == digest.outcome())
        };
        Self {
            label,
            outcome: first.filter(same).map(|digest| digest.outcome()),
            acting: first.map(|digest| digest.head.facts.changes.clone()),
            runs: count,
            ns,
        }
    }

    fn total(&self, phase: Phase) -> u64 {
        let each = Work::ALL.into_iter().map(|work| self.get(phase, work));
        each.fold(0, u64::saturating_add)
    }

    fn get(&self, phase: Phase, work: Work) -> u64 {
        self.ns.get(&(phase, work)).copied().unwrap_or(0)
    }
}

/// The bars of all runs.
pub fn picture(page: &Page) -> Markup {
    let bars: Vec<Bar> = if page.runs.len() <= RUNS_MAX {
        let label = |run: &Run| run.digest.sum.head.run.clone();
        page.runs.iter().map(|run| Bar::of(label(run), &[run])).collect()
    } else {
        let mut designs: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
        for run in &page.runs {
            let design = run.digest.sum.head.facts.design.as_deref().unwrap_or("no design");
            designs.entry(design).or_default().push(run);
        }
        let mut designs: Vec<(&str, Vec<&Run>)> = designs.into_iter().collect();
        designs.sort_by(|(one, _), (other, _)| natural_order(one, other));
        designs.iter().map(|(design, runs)| Bar::of((*design).to_owned(), runs)).collect()
    };
    drawn("comparison", &bars)
}

/// The bars of one run alone.
pub fn of_one(run: &Run) -> Markup {
    let label = run.digest.sum.head.facts.design.clone();
    let label = label.unwrap_or_else(|| run.digest.sum.head.facts.scenario.clone());
    drawn("spent", &[Bar::of(label, &[run])])
}

fn drawn(id: &str, bars: &[Bar]) -> Markup {
    let longest = |phase| bars.iter().map(|bar| bar.total(phase)).max().unwrap_or(0).max(1);
    let longest = [(Phase::Init, longest(Phase::Init)), (Phase::Steady, longest(Phase::Steady))];
    let height = ROW * bars.len() as f64 + 8.0;
    let width = LEFT + WIDTH + RIGHT;
    let view = format!("0 0 {width} {height}");
    let drawing = html! {
        (legend())
        svg.bars viewBox=(view) width=(width) height=(height) {
            @for (at, bar) in bars.iter().enumerate() {
                (row(bar, 4.0 + ROW * at as f64, &longest))
            }
        }
    };
    let caption = "Where virtual time went: initialisation above, steady state below; each on a scale \
                   of its own, the same for all rows";
    figure(id, caption, drawing, table(bars))
}

fn legend() -> Markup {
    html! {
        p.legend {
            @for work in Work::ALL {
                span.key { svg width="14" height="14" { rect class=(class(work)) width="14" height="14" {} }
                    " " b { (work.glyph()) } " " (work.name()) }
            }
        }
    }
}

fn class(work: Work) -> String {
    format!("w-{}", work.glyph())
}

fn row(bar: &Bar, top: f64, longest: &[(Phase, u64); 2]) -> Markup {
    let name: String = inert(&bar.label);
    let acting = acting(bar);
    html! {
        g {
            title { (name) }
            text x="0" y=(top + 13.0) {
                (tail(&name, LABEL_MAX.saturating_sub(acting.chars().count())))
                @if !acting.is_empty() { tspan.small dx="12" { (acting) } }
            }
            @for (at, (phase, longest)) in longest.iter().enumerate() {
                (stack(bar, *phase, *longest, top + 18.0 + 16.0 * at as f64))
            }
        }
    }
}

/// The end of `name`: of long ids that is where they differ.
fn tail(name: &str, most: usize) -> String {
    let many = name.chars().count();
    if many <= most {
        return name.to_owned();
    }
    let end: String = name.chars().skip(many + 1 - most.max(1)).collect();
    format!("…{end}")
}

/// Who must act, as the design's file claims.
fn acting(bar: &Bar) -> String {
    match bar.acting.as_deref() {
        None => String::new(),
        Some([]) => "nobody must act".to_owned(),
        Some(layers) => {
            let names: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
            format!("⚒ {}", names.join(", "))
        }
    }
}

fn stack(bar: &Bar, phase: Phase, longest: u64, top: f64) -> Markup {
    let total = bar.total(phase);
    let scale = WIDTH / longest as f64;
    let mut x = LEFT;
    let mut parts = Vec::new();
    for work in Work::ALL {
        let ns = bar.get(phase, work);
        let wide = ns as f64 * scale;
        if wide >= 0.3 {
            parts.push((x, wide, work, ns));
        }
        x += wide;
    }
    html! {
        @for (x, wide, work, ns) in parts {
            g {
                title { (phase.name()) ": " (work.name()) " " (words::time(ns)) }
                rect class=(class(work)) x=(round(x)) y=(top) width=(round(wide)) height="13" {}
                @if wide > 12.0 {
                    text class=(format!("in {}", class(work))) x=(round(x + wide / 2.0)) y=(top + 10.0)
                        text-anchor="middle" { (work.glyph()) }
                }
            }
        }
        text.small x=(LEFT - 6.0) y=(top + 10.5) text-anchor="end" { (phase.name()) }
        text.small x=(round(x + 6.0)) y=(top + 10.5) { (words::time(total)) }
    }
}

/// A tenth of a pixel is exact enough.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn table(bars: &[Bar]) -> Markup {
    html! {
        table {
            thead { tr {
                th { "run or design" } th { "outcome" } th { "runs" } th { "who must act (its file's claim)" }
                th { "phase" } th { "total" }
                @for work in Work::ALL { th.n { (work.name()) } }
            } }
            tbody {
                @for bar in bars {
                    @for phase in [Phase::Init, Phase::Steady] {
                        tr {
                            td { (inert(&bar.label)) }
                            td { @match bar.outcome { Some(one) => (outcome(one)), None => "mixed" } }
                            td.n { (bar.runs) }
                            td { (acting(bar)) }
                            td { (phase.name()) }
                            td.n { (words::time(bar.total(phase))) }
                            @for work in Work::ALL { td.n { (words::time(bar.get(phase, work))) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_name_the_end_is_kept() {
        assert_eq!(tail("thread/secure", 13), "thread/secure");
        assert_eq!(tail("thread/secure", 12), "…read/secure");
        assert_eq!(tail("ab", 0), "…");
    }
}
