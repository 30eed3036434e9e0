//! The sinks' escapes: text that a guest or a file wrote never reaches a terminal, a log or a
//! report raw.

use std::fmt::Write;

/// Whether `c` could move a cursor, start a sequence, or turn the reading direction.
pub fn is_active(c: char) -> bool {
    let bidi = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let lines = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    c.is_control() || bidi || lines
}

/// `text` for one line of a terminal or a log: control characters (C0, C1, DEL), bidirectional
/// marks and line separators as `\x1b` or `\u{202e}`.
pub fn terminal(text: &str) -> String {
    terminal_cut(text, usize::MAX)
}

/// As [`terminal`], cut after `chars_max` characters of the original with a mark that says so.
pub fn terminal_cut(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(256));
    for (at, c) in text.chars().enumerate() {
        if at == chars_max {
            out.push_str("...");
            break;
        }
        push_escaped(&mut out, c);
    }
    out
}

/// For source text in an error's picture: keeps line feeds and tabs, and shows each character that
/// [`is_active`] as one `?`, so that columns stay what they are.
pub fn block(text: &str) -> String {
    let inert = |c: char| if is_active(c) && c != '\n' && c != '\t' { '?' } else { c };
    text.chars().map(inert).collect()
}

/// Bytes for one line of a terminal: as [`terminal`], and what is not UTF-8 as `\xff`.
pub fn terminal_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_escaped(&mut out, c));
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing into a String cannot fail");
        }
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    if c == '[' && out.ends_with("##") {
        // GitHub's runner looks for `##[command]` anywhere in a line.
        out.push_str("\\x5b");
    } else if !is_active(c) {
        out.push(c);
    } else if u32::from(c) < 0x100 {
        write!(out, "\\x{:02x}", u32::from(c)).expect("writing into a String cannot fail");
    } else {
        write!(out, "\\u{{{:x}}}", u32::from(c)).expect("writing into a String cannot fail");
    }
}

/// Text in which a viewer of Markdown sees no link, no HTML and no end of a cell; made harmless for
/// a terminal too.
pub fn markdown(text: &str) -> String {
    let text = terminal(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_[]<>|#@&~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    // What GitHub would make a link without any mark.
    out.replace("://", "\\://").replace("www.", "www\\.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_comes_through() {
        let hostile = "a\x1b[2Jb\x07\x7f\u{9b}31m\u{202e}txt\u{2066}\r\n\0\u{2028}";
        let inert = terminal(hostile);
        assert!(!inert.chars().any(is_active), "{inert:?}");
        assert_eq!(inert, r"a\x1b[2Jb\x07\x7f\x9b31m\u{202e}txt\u{2066}\x0d\x0a\x00\u{2028}");
    }

    #[test]
    fn bytes_that_are_no_utf8_stay_countable() {
        assert_eq!(terminal_bytes(b"ok\xff\xc3(\xe2\x82"), r"ok\xff\xc3(\xe2\x82");
    }

    #[test]
    fn a_block_keeps_its_lines_and_nothing_else() {
        assert_eq!(block("a\n\tb\x1b\u{202e}c"), "a\n\tb??c");
    }

    #[test]
    fn no_command_of_a_build_log_comes_through() {
        assert_eq!(terminal("a ##[error]b"), r"a ##\x5berror]b");
    }

    #[test]
    fn a_cut_is_marked() {
        assert_eq!(terminal_cut("abcdef", 3), "abc...");
        assert_eq!(terminal_cut("abc", 3), "abc");
    }

    #[test]
    fn markdown_has_no_mark_and_no_link_left() {
        let shown = markdown("[x](http://a.b) www.c <b> a|b\x1b");
        assert_eq!(shown, "\\[x\\](http\\://a.b) www\\.c \\<b\\> a\\|b\\\\x1b");
    }
}
