//! The figures as people read them: a Markdown table, and what machine it was.

use crate::peers::Engine;
use crate::workloads::Workload;
use comfy_table::{CellAlignment, Table, presets};
use std::time::Duration;

/// What is wanted of the engine against Bochs, whatever the workload.
const BOCHS_FLOOR: f64 = 3.0;

/// One workload, start-up subtracted; without a peer, `theirs` is zero.
pub struct Row {
    pub workload: &'static Workload,
    pub ours: Duration,
    pub theirs: Duration,
    /// The processor's own time, where that is known: less is not to be had.
    pub native: Option<Duration>,
    /// Both are long enough to be told from the noise of starting.
    pub tells: bool,
    /// Guest instructions, a whole REP being one.
    pub instructions: u64,
}

/// The processor and how many of it there are.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("?")
            .to_owned()
    };
    let processors = info.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "machine: {}, family {}, model {}, {processors} processors",
        field("model name"),
        field("cpu family"),
        field("model\t")
    )
}

/// The comparison with `peer`.
pub fn table(peer: Engine, version: &str, runs: u32, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "workload",
        "uvsim",
        peer.name(),
        "instructions",
        "M/s",
        &format!("M/s {}", peer.name()),
        "speed",
        "floor",
        "aim",
        "",
    ]);
    for row in rows {
        table.add_row(cells(peer, row));
    }
    for column in 1..9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let bounds: String = rows.iter().filter_map(|row| bound(peer, row)).collect();
    format!(
        "\nagainst {version}\nCPU seconds (user + system, start-up subtracted), medians of {runs} \
         runs in turn; equal checksums; speed = {} / uvsim\n\n{table}{bounds}",
        peer.name()
    )
}

/// How far any engine could be ahead of `peer`.
fn bound(peer: Engine, row: &Row) -> Option<String> {
    let (native, most) = (row.native?.as_secs_f64(), most(row)?);
    let (name, workload) = (peer.name(), row.workload.name);
    Some(format!(
        "\n{workload}: the processor itself takes {native:.3} s, {name} {most:.2} times as long"
    ))
}

/// The speed of an engine that is as fast as the processor.
fn most(row: &Row) -> Option<f64> {
    Some(row.theirs.as_secs_f64() / row.native?.as_secs_f64())
}

/// The engine without a peer.
pub fn alone(runs: u32, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["workload", "uvsim", "instructions", "M/s"]);
    for row in rows {
        let time = format!("{:.3}", row.ours.as_secs_f64());
        table.add_row([
            row.workload.name,
            &time,
            &row.instructions.to_string(),
            &rate(row, row.ours),
        ]);
    }
    format!("\nCPU seconds (user + system, start-up subtracted), medians of {runs} runs\n\n{table}")
}

/// Millions of guest instructions a second.
fn rate(row: &Row, time: Duration) -> String {
    let rate = row.instructions as f64 / time.as_secs_f64() / 1e6;
    if rate < 1.0 || !row.tells { "-".to_owned() } else { format!("{rate:.0}") }
}

fn cells(peer: Engine, row: &Row) -> [String; 10] {
    let (floor, aim) = match peer {
        Engine::Bochs => (Some(BOCHS_FLOOR), None),
        Engine::Qemu | Engine::Uvsim | Engine::Native => row.workload.wanted,
    };
    let speed = row.theirs.as_secs_f64() / row.ours.as_secs_f64();
    let verdict = match (floor, aim) {
        _ if !row.tells => "too short",
        (_, Some(aim)) if speed >= aim => "aim",
        (Some(floor), _) if speed >= floor => "floor",
        (Some(floor), _) if most(row).is_some_and(|most| most < floor) => "no engine can",
        (Some(_), _) => "below",
        (None, _) => "told",
    };
    let named = |bound: Option<f64>| bound.map_or("-".to_owned(), |bound| format!("{bound}"));
    [
        row.workload.name.to_owned(),
        format!("{:.3}", row.ours.as_secs_f64()),
        format!("{:.3}", row.theirs.as_secs_f64()),
        row.instructions.to_string(),
        rate(row, row.ours),
        rate(row, row.theirs),
        if row.tells { format!("{speed:.2}") } else { "?".to_owned() },
        named(floor),
        named(aim),
        verdict.to_owned(),
    ]
}
