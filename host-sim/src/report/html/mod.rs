//! The page: one HTML file that needs no network, no server and no script.
//!
//! All text of a scenario or a guest comes in by [`inert`] and is escaped by the template. The only
//! script and style are ours, named in the content security policy by their hashes.

mod bars;
mod behind;
mod heat;
mod life;
mod occupancy;
mod runs;
mod sequence;
mod strip;

use super::digest::{Digest, Pictures, Summary};
use crate::escape;
use crate::verdict::Verdict;
use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

/// The page is not larger than this.
pub const BYTES_MAX: usize = 3_000_000;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What is said of one run beside its events, where a command judged it just now.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// The verdict, rules of policies included.
    pub verdict: Option<Verdict>,
    /// What rules say, a sentence each.
    pub rules: Vec<String>,
}

/// One run of the page.
#[derive(Clone, Debug)]
pub struct Run {
    /// What its events tell.
    pub digest: Digest,
    /// What else is known.
    pub judgement: Judgement,
}

/// What the page is of.
#[derive(Clone, Debug)]
pub struct Page {
    /// The runs, in the order of the input.
    pub runs: Vec<Run>,
    /// The command that makes this page again.
    pub command: String,
    /// Why the process exited as it did, if it ran anything.
    pub conclusion: Option<String>,
    /// Where the full data lies, in words.
    pub data: String,
}

/// What a picture is drawn from.
struct View<'a> {
    sum: &'a Summary,
    pics: &'a Pictures,
}

/// Text of an input, on one line, with nothing in it that moves a cursor or turns a line around.
fn inert(text: &str) -> String {
    escape::terminal_cut(text, 2000)
}

/// The source expression of the content security policy that allows exactly `text`.
fn allowed(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text.as_bytes())))
}

fn policy() -> String {
    let (style, script) = (allowed(STYLE), allowed(SCRIPT));
    format!(
        "default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"
    )
}

/// Writes the page. Pictures of runs that would make it too large are left out, the least telling
/// first, and the page says which.
pub fn render(page: &Page) -> String {
    let mut articles: Vec<Option<String>> = vec![None; page.runs.len()];
    let mut order: Vec<usize> = (0..page.runs.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(page.runs[*at].digest.weight()));
    // Each link into an article takes some room in the frame.
    let frame = document(page, &[]).into_string().len() + 256 * page.runs.len();
    let mut room = BYTES_MAX.saturating_sub(frame);
    for at in order {
        let Some(article) = article(&page.runs[at], at, page.runs.len() == 1) else { continue };
        let article = article.into_string();
        if article.len() <= room {
            room -= article.len();
            articles[at] = Some(article);
        }
    }
    document(page, &articles).into_string()
}

fn document(page: &Page, articles: &[Option<String>]) -> Markup {
    let several = page.runs.len() > 1;
    let title = match page.runs.as_slice() {
        [one] => format!("uvsim: {}", inert(&one.digest.sum.head.run)),
        runs => format!("uvsim: {} runs", runs.len()),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (patterns())
                header {
                    h1 { (title) }
                    (strip::all(page))
                }
                main {
                    @if several {
                        section {
                            h2 { "Comparison" }
                            (bars::picture(page))
                            (runs::table(page, articles))
                        }
                    }
                    @for article in articles.iter().flatten() { (PreEscaped(article)) }
                    (folded(page, articles))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// One run: its strip, its pictures, its numbers; `None` if there are no pictures of it.
fn article(run: &Run, at: usize, alone: bool) -> Option<Markup> {
    let sum = &run.digest.sum;
    let view = &View { sum, pics: run.digest.pics.as_ref()? };
    Some(html! {
        article id=(format!("r{at}")) {
            @if !alone { h2 { (inert(&sum.head.run)) } }
            p.about { (inert(&sum.head.facts.about)) }
            (strip::one(run))
            @if alone { (bars::of_one(run)) }
            (heat::picture(view, at))
            (life::picture(view, at))
            (sequence::picture(view, at))
            (occupancy::picture(view, at))
            (behind::numbers(view, at))
            (behind::events(view, at))
        }
    })
}

/// What was left out, and where all of it lies.
fn folded(page: &Page, articles: &[Option<String>]) -> Markup {
    let left: Vec<&str> = page
        .runs
        .iter()
        .zip(articles)
        .filter(|(_, article)| article.is_none())
        .map(|(run, _)| run.digest.sum.head.run.as_str())
        .collect();
    let events: u64 = page.runs.iter().map(|run| run.digest.sum.events).sum();
    html! {
        footer {
            h2 { "What was folded away" }
            ul {
                li { "This page was made from " (events) " events. It shows those that its numbers and "
                    "pictures point to; neighbouring pages with one history are one row, repeats are "
                    "told once, time is cut into bins." }
                li { (inert(&page.data)) }
                @if !left.is_empty() {
                    li {
                        "There was no room for the pictures of " (left.len()) " of the runs; "
                        "uvsim report --id shows them, for example: "
                        @for id in left.iter().take(5) { code { (inert(id)) } " " }
                    }
                }
                li { "Times are virtual: modelled costs, most of them estimates, not measurements. A "
                    "guest of ours polls, so no interrupt or wake-up is charged." }
                li { "uvsim " (env!("CARGO_PKG_VERSION")) ", MIT OR Apache-2.0" }
            }
        }
    }
}

/// The hatches, which every picture uses.
fn patterns() -> Markup {
    let tile = |id: &str, path: &str| {
        html! {
            pattern id=(id) width="6" height="6" patternUnits="userSpaceOnUse" {
                path class="hatch" d=(path) {}
            }
        }
    };
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            defs {
                (tile("h-slant", "M0 6L6 0M-1 1L1 -1M5 7L7 5"))
                (tile("h-dots", "M2 2h2v2h-2z"))
                (tile("h-grid", "M3 0V6M0 3H6"))
                (tile("h-back", "M0 0L6 6M-1 5L1 7M5 -1L7 1"))
                (tile("h-upright", "M3 0V6"))
                (tile("h-level", "M0 3H6"))
            }
        }
    }
}

/// A picture: the drawing, its caption, and the same numbers as a table.
fn figure(id: &str, caption: &str, drawing: Markup, table: Markup) -> Markup {
    html! {
        figure id=(id) {
            figcaption { (caption) }
            div.drawing tabindex="0" role="group" aria-label=(caption) { (drawing) }
            details { summary { "The same as a table" } div.scroll { (table) } }
        }
    }
}

/// A link to an event, if the page shows it.
fn event(view: &View<'_>, at: usize, seq: u64) -> Markup {
    if view.pics.shown.contains_key(&seq) {
        html! { a href=(format!("#r{at}-e{seq}")) { (seq) } }
    } else {
        html! { (seq) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_our_script_and_style_and_nothing_else() {
        let policy = policy();
        assert!(policy.starts_with("default-src 'none'; "));
        assert_eq!(policy.matches("'sha256-").count(), 2);
        assert!(!policy.contains("unsafe") && !policy.contains("http"));
        // Neither ends its own element.
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
        assert_eq!(allowed(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }
}
