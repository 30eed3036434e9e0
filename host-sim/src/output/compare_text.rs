//! A comparison for a terminal (at most 120 columns) and as Markdown.

use super::compare_grid::{self, Grid, MARKS};
use super::words;
use crate::compare::Comparison;
use crate::counters::Counter;
use crate::escape;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

/// No line of the tables is longer.
pub const COLUMNS: u16 = 120;

/// A design's name is broken only past this.
const NAME_COLUMNS: u16 = 36;

/// The tables for a terminal.
pub fn text(comparison: &Comparison, metrics: &[Counter]) -> String {
    let mut out = String::new();
    for (number, grid) in compare_grid::grids(comparison, metrics).iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        out.push_str(&format!("{}\n{}", grid.heading, table(grid)));
        if number == 0 && !comparison.rules.is_empty() {
            for (number, head) in comparison.rules.iter().enumerate() {
                out.push_str(&words::wrapped("  ", &compare_grid::rule_line(number, head)));
            }
            out.push_str(&words::wrapped("  ", MARKS));
        }
    }
    out.push('\n');
    for note in compare_grid::notes(comparison) {
        out.push_str(&words::wrapped("", &note));
    }
    out
}

fn table(grid: &Grid) -> String {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS)
        .set_header(&grid.header);
    for row in &grid.rows {
        let mut row = row.clone();
        // Each design of a group on a line of its own.
        if let Some(names) = row.first_mut() {
            *names = names.replace(", ", ",\n");
        }
        table.add_row(row);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if at == 0 { 2 } else { 0 }, if at < grid.words { 2 } else { 1 }));
        if at == 0 {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(NAME_COLUMNS)));
        }
        if at >= grid.words {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The tables as Markdown.
pub fn markdown(comparison: &Comparison, metrics: &[Counter]) -> String {
    let mut out = String::new();
    for (number, grid) in compare_grid::grids(comparison, metrics).iter().enumerate() {
        out.push_str(&format!("### {}\n\n", grid.heading));
        out.push_str(&markdown_row(&grid.header));
        let rules = (0..grid.header.len()).map(|at| if at < grid.words { "---" } else { "---:" });
        out.push_str(&format!("|{}|\n", rules.collect::<Vec<_>>().join("|")));
        grid.rows.iter().for_each(|row| out.push_str(&markdown_row(row)));
        out.push('\n');
        if number == 0 && !comparison.rules.is_empty() {
            for (number, head) in comparison.rules.iter().enumerate() {
                let line = compare_grid::rule_line(number, head);
                let (letter, rest) = line.split_once("  ").unwrap_or((&line, ""));
                out.push_str(&format!("- {letter}: {}\n", escape::markdown(rest)));
            }
            out.push_str(&format!("\n{MARKS}\n\n"));
        }
    }
    for note in compare_grid::notes(comparison) {
        out.push_str(&format!("{note}\n\n"));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn markdown_row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escape::markdown(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}
