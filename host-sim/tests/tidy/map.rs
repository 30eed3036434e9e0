//! What the README shows of the tree and of the code, printed.

use super::sources::Source;
use ultravisor::page_state::{PageOp, PageState, next};

/// The text of the README's block `name`, without its markers.
pub fn block(readme: &str, name: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = readme.find(&open).unwrap_or_else(|| panic!("no block {name}")) + open.len();
    let end = readme[start..].find(&close).unwrap_or_else(|| panic!("{name} does not end"));
    readme[start..start + end].to_owned()
}

/// Widest line of the map.
const WIDTH: usize = 110;

/// The map: a line for each source file, by folder, with the beginning of what it says of itself.
/// Tests and benches are not on it.
pub fn print(sources: &[Source]) -> String {
    let mut map = String::new();
    let mut last: Vec<&str> = Vec::new();
    let mut files: Vec<&Source> =
        sources.iter().filter(|source| source.path.contains("/src/")).collect();
    files.sort_by_key(|source| key(&source.path));
    for source in files {
        let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        let (krate, inside) = folder.split_once("/src").unwrap_or((folder, ""));
        let folders: Vec<&str> =
            [krate].into_iter().chain(inside.split('/').filter(|name| !name.is_empty())).collect();
        let same = folders.iter().zip(&last).take_while(|(a, b)| a == b).count();
        for (depth, name) in folders.iter().enumerate().skip(same) {
            let src = if depth == 0 { "/src/" } else { "/" };
            map += &format!("{:indent$}{name}{src}\n", "", indent = 4 + 2 * depth);
        }
        let indent = 4 + 2 * folders.len();
        let line = format!("{:indent$}{file:<20} {}", "", said(&source.text));
        map += &format!("{}\n", cut(&line));
        last = folders;
    }
    map
}

/// Crates in the order of their arrows; in a folder `lib.rs` or `mod.rs` first, then files, then
/// folders.
fn key(path: &str) -> (usize, String) {
    let crates =
        ["ultravisor/abi/", "ultravisor/src/", "ultravisor/cpu/", "firmware/", "host-sim/"];
    let krate = crates.iter().position(|krate| path.starts_with(krate)).unwrap_or(crates.len());
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let first = matches!(file, "lib.rs" | "mod.rs");
    let folder = folder.replace('/', "/~");
    (krate, format!("{folder}/{}{file}", if first { '!' } else { '-' }))
}

/// The first sentence that a file says of itself.
fn said(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let sentence = paragraph.join(" ");
    let end = sentence.find(". ").unwrap_or(sentence.len());
    sentence[..end].trim_end_matches('.').to_owned()
}

/// The line, ended before the word that would be too much.
fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let kept: String = line.chars().take(WIDTH - 3).collect();
    let end = kept.rfind(' ').unwrap_or(kept.len());
    format!("{}...", kept[..end].trim_end_matches([',', ':', ';']))
}

/// Table 1 as the README shows it: a row for each state, a column for each operation of a call.
pub fn page_states() -> String {
    let ops = PageOp::ALL;
    let heads: Vec<&str> = ops.iter().map(|op| op.name()).collect();
    let mut table = format!("| from | {} |\n", heads.join(" | "));
    table += &format!("|---|{}\n", "---|".repeat(ops.len()));
    for from in PageState::ALL {
        let cells: Vec<String> = ops
            .iter()
            .map(|op| match next(from, *op) {
                Ok(step) if step.to == from && step.effect.name() == "keep" => "=".into(),
                Ok(step) if step.effect.name() == "keep" => step.to.name().into(),
                Ok(step) => format!("{} *{}*", step.to.name(), step.effect.name()),
                Err(_) => "·".into(),
            })
            .collect();
        table += &format!("| **{}** | {} |\n", from.name(), cells.join(" | "));
    }
    table
}
