//! A page of `uvsim explain`, and how it is printed.

use crate::escape;
use crate::output::words;

/// What is said about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The word that leads here.
    pub word: String,
    /// What kind of thing it is: `error code`, `design`, ...
    pub kind: &'static str,
    /// What it is, in a sentence or two.
    pub what: String,
    /// What else there is to know: head and text, in the order of print. Never empty.
    pub sections: Vec<(&'static str, String)>,
    /// Text that is shown as it is, line by line: a file, an example.
    pub verbatim: Option<(&'static str, String)>,
}

/// Columns of a section's head.
const HEAD: usize = 12;

impl Page {
    /// The page as text of at most 100 columns (a file's own lines stay as they are).
    pub fn print(&self) -> String {
        let mut text = words::wrapped("", &format!("{} ({})", self.word, self.kind));
        text.push('\n');
        text += &words::wrapped("  ", &escape::terminal(&self.what));
        text.push('\n');
        for (head, body) in &self.sections {
            for (at, line) in body.lines().enumerate() {
                let head = if at == 0 { head } else { "" };
                let line = escape::terminal(line);
                text += &words::wrapped(&format!("  {head:HEAD$}"), &line);
            }
        }
        if let Some((head, body)) = &self.verbatim {
            text += &format!("\n  {head}\n");
            for line in body.lines() {
                text += format!("    {}", escape::terminal(line)).trim_end();
                text.push('\n');
            }
        }
        text
    }
}
