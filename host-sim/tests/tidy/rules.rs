//! Rules over one file.

use super::sources::Source;

/// Most lines of a file; tests may be longer.
pub const LINES_MAX: usize = 600;

/// The tables of the field that are one `match`: in which file, from which function on to its end.
pub const TABLES: [(&str, &str); 5] = [
    ("ultravisor/src/page_state.rs", "pub const fn next("),
    ("ultravisor/src/view.rs", "pub const fn view("),
    ("ultravisor/src/svm.rs", "pub const fn next_life("),
    ("ultravisor/src/ucall/mod.rs", "pub const fn entitled("),
    ("firmware/src/dma/decide.rs", "pub const fn decide("),
];

fn at(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{}: {what}", source.path, line + 1)
}

/// A file begins with a `//!` line that says what it is.
pub fn first_line(source: &Source) -> Vec<String> {
    let said = source.text.lines().next().is_some_and(|line| line.starts_with("//! "));
    if said { vec![] } else { vec![at(source, 0, "the first line does not say what the file is")] }
}

/// Nothing is left for later.
pub fn markers(source: &Source) -> Vec<String> {
    let words = [("TO", "DO"), ("FIX", "ME"), ("X", "XX"), ("todo!", "("), ("unimplemented!", "(")];
    let words = words.map(|(head, tail)| format!("{head}{tail}"));
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| words.iter().any(|word| line.contains(word.as_str())))
        .map(|(number, _)| at(source, number, "a left-over marker"))
        .collect()
}

/// A file can be read in one sitting.
pub fn length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= LINES_MAX || source.path.contains("/tests/") {
        return vec![];
    }
    vec![at(source, lines, &format!("{lines} lines, at most {LINES_MAX}"))]
}

/// The lines of a file's table: (number, line).
pub fn table(source: &Source) -> Option<Vec<(usize, &str)>> {
    let (_, function) = TABLES.iter().find(|(path, _)| *path == source.path)?;
    let start = source.text.lines().position(|line| line.starts_with(function))?;
    let lines = source.text.lines().enumerate().skip(start);
    Some(lines.take_while(|(_, line)| *line != "}").collect())
}

/// A table has no wildcard: a new state must be thought about. Only arms count (`=>`).
pub fn wildcards(source: &Source) -> Vec<String> {
    let arms = table(source).unwrap_or_default().into_iter();
    arms.filter(|(_, line)| line.contains("=>"))
        .filter(|(_, line)| {
            let pattern = line.split("=>").next().unwrap_or_default();
            pattern.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "_")
        })
        .map(|(number, _)| at(source, number, "a wildcard in a table"))
        .collect()
}

/// A file that opts into unsafe code is one that the README names.
pub fn opted_in(source: &Source, allowed: &str) -> Vec<String> {
    let opts = ["expect(unsafe_code", "allow(unsafe_code"];
    let named = allowed.contains(&format!("`{}`", source.path)) || source.path.contains("/tests/");
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| {
            !named && line.starts_with('#') && opts.iter().any(|o| line.contains(o))
        })
        .map(|(number, _)| {
            at(source, number, "unsafe code in a file that the README does not name")
        })
        .collect()
}
