//! Reading on after a fault: what was told is read as it was probably meant, so that one mistake
//! does not hide the next.

use std::ops::Range;

/// One piece of a text, and what it is read as.
pub type Edit = (Range<usize>, String);

/// A text with edits. Places in it lead back to the text as it was written.
#[derive(Clone, Debug, Default)]
pub struct Mended {
    text: String,
    /// In the order of the text as written, none crossing another.
    edits: Vec<Edit>,
}

impl Mended {
    /// `original` with no edits.
    pub fn new(original: &str) -> Self {
        Self { text: original.to_owned(), edits: Vec::new() }
    }

    /// The text as it is read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where in the text as written the place `at` is; a place in an edit is at its start or end.
    pub fn original(&self, at: usize) -> usize {
        // Both run along the texts: how far the edits so far have moved what follows them.
        let (mut read, mut written) = (0, 0);
        for (span, text) in &self.edits {
            let start = read + (span.start - written);
            if at < start {
                break;
            }
            let end = start + text.len();
            if at < end {
                return if at == start { span.start } else { span.end };
            }
            (read, written) = (end, span.end);
        }
        written + (at - read)
    }

    /// Whether `span` of the text as written is inside what was edited: that was told already.
    pub fn hides(&self, span: &Range<usize>) -> bool {
        self.edits.iter().any(|(edit, _)| edit.start <= span.start && span.end <= edit.end)
    }

    /// Adds edits of the text as written; those that cross an earlier one are left out. Says
    /// whether any was added.
    pub fn edit(&mut self, original: &str, edits: Vec<Edit>) -> bool {
        let mut added = false;
        for (span, text) in edits.into_iter().filter(|(span, _)| span.end <= original.len()) {
            let crosses = self.edits.iter().any(|(other, _)| {
                span.start < other.end && other.start < span.end && *other != span
            });
            match self.edits.iter_mut().find(|(other, _)| *other == span) {
                // Another piece at the same point; nothing else is read in two ways.
                Some((_, there)) if span.is_empty() && !there.contains(&text) => {
                    there.push_str(&text);
                }
                Some(_) => continue,
                None if crosses => continue,
                None => self.edits.push((span, text)),
            }
            added = true;
        }
        self.edits.sort_by_key(|(span, _)| (span.start, span.end));
        self.text.clear();
        let mut written = 0;
        for (span, text) in &self.edits {
            self.text.push_str(&original[written..span.start]);
            self.text.push_str(text);
            written = span.end;
        }
        self.text.push_str(&original[written..]);
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_back_to_the_text_as_written() {
        let written = "(memroy: 64MiB, unit: x)";
        let mut mended = Mended::new(written);
        let edits = vec![(9..14, "\"64MiB\"".to_owned()), (1..7, "memory".to_owned())];
        assert!(mended.edit(written, edits));
        assert_eq!(mended.text(), "(memory: \"64MiB\", unit: x)");
        let unit = mended.text().find("unit").expect("it is there");
        assert_eq!(mended.original(unit), written.find("unit").expect("it is there"));
        assert_eq!((mended.original(9), mended.original(12), mended.original(16)), (9, 14, 14));
        assert!(mended.hides(&(9..14)) && mended.hides(&(10..11)) && !mended.hides(&(9..15)));
        assert_eq!(mended.original(mended.text().len()), written.len());
    }

    #[test]
    fn what_was_edited_once_is_left_alone() {
        let mut mended = Mended::new("abc");
        assert!(mended.edit("abc", vec![(1..2, "X".to_owned())]));
        assert!(!mended.edit("abc", vec![(1..2, "Y".to_owned())]));
        assert_eq!(mended.text(), "aXc");
        assert!(mended.edit("abc", vec![(3..3, "!".to_owned())]));
        assert_eq!(mended.text(), "aXc!");
    }
}
