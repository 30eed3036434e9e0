//! A story as numbered lines: for screen readers, pipes, and terminals that can no more.

use super::scene::Scene;
use super::story::Story;
use super::table;
use crate::output::words;
use std::fmt::Write;

/// Its name and what it is about.
pub fn head(story: &Story) -> String {
    let mut out = words::wrapped("", &format!("{}: {}", story.name, story.about));
    for told in &story.runs {
        let design = told.recording.plan.design.as_deref().unwrap_or("no design");
        let what_if = if told.recording.log.what_if { ", what if" } else { "" };
        let run = format!("{} ({design}{what_if})", told.label);
        out.push_str(&words::wrapped("  run: ", &run));
    }
    out.push('\n');
    out
}

/// One step: what happens, who does it, where the guest is, and the counts.
pub fn step(scene: &Scene) -> String {
    let (number, steps) = scene.step;
    let (run, ..) = &scene.run;
    let mut out = words::wrapped(
        "",
        &format!(
            "{number}/{steps} {} [{run}, t={}, {} acts]",
            scene.title,
            scene.time,
            scene.acting.name()
        ),
    );
    out.push_str(&words::wrapped("    ", &scene.says));
    if let Some(focus) = &scene.focus {
        out.push_str(&words::wrapped("    ", focus));
    }
    let next = scene.code.iter().find(|line| line.is_next);
    if let Some(next) = next {
        out.push_str(&words::wrapped(
            "    guest at ",
            &format!("{}: {}", scene.function, next.text),
        ));
    }
    let counts: Vec<String> =
        scene.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    out.push_str(&words::wrapped("    ", &counts.join(", ")));
    out.push('\n');
    out
}

/// The comparison at the end.
pub fn end(story: &Story) -> String {
    let mut out = words::wrapped("", "The comparison:");
    for row in table::rows(story) {
        let [how, outcome, requests, trips, copies, time] = &row.cells;
        let text = format!(
            "{how}: comes out {outcome}; requests served {requests}, round trips {trips}, copies \
             {copies}, time {time}."
        );
        out.push_str(&words::wrapped("    ", &text));
        if !row.acting.is_empty() {
            out.push_str(&words::wrapped("      who must act: ", &row.acting));
        }
    }
    out.push('\n');
    out.push_str(&words::wrapped("", &story.ends));
    writeln!(out, "Time is modelled, from estimates, not measured.").expect("a String takes it");
    out
}
