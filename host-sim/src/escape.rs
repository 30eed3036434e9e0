//! The sinks' escapes: text that a guest or a file wrote never reaches a terminal, a log or a
//! report raw. One function for each kind of sink; JSON's is in `output/json.rs`.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::str::Utf8Chunk;

/// Whether `c` could move a cursor, start a sequence, or turn the reading direction; is seen by
/// nobody, so that two names look like one; or is none of Unicode's characters, which XML and HTML
/// do not allow. The joiners U+200C and U+200D stay: words and emoji are written with them.
pub fn is_active(c: char) -> bool {
    let bidi = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let lines = matches!(c, '\u{2028}' | '\u{2029}');
    let unseen =
        matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
            || matches!(
                c,
                '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{3164}' | '\u{feff}'
            )
            || matches!(c, '\u{ffa0}' | '\u{e0000}'..='\u{e007f}');
    let none = matches!(c, '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}');
    c.is_control() || bidi || lines || unseen || none
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
/// [`is_active`], and each `[` that would make a command of a build log, as one `?`, so that columns
/// stay what they are.
pub fn block(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let active = is_active(c) && c != '\n' && c != '\t';
        let command = c == '[' && ends_a_command(out.as_bytes());
        out.push(if active || command { '?' } else { c });
    }
    out
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

/// Whether a `[` after `text` would make a command of a build log: `##[` (GitHub's runner looks for
/// it anywhere in a line), `##vso[` (Azure), `##teamcity[`.
fn ends_a_command(text: &[u8]) -> bool {
    let tail = &text[text.len().saturating_sub(16)..];
    let letters = tail.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    tail[..tail.len() - letters].ends_with(b"##")
}

fn push_escaped(out: &mut String, c: char) {
    if c == '[' && ends_a_command(out.as_bytes()) {
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

/// `text` as a code span of Markdown that nothing in it can end, not even a cell of a table; at most
/// `chars_max` characters of it.
pub fn markdown_code(text: &str, chars_max: usize) -> String {
    let inert = terminal_cut(text, chars_max).replace('`', "\\x60").replace('|', "\\x7c");
    if inert.trim().is_empty() { "(empty)".to_owned() } else { format!("`{inert}`") }
}

/// A line that a guest printed, for a terminal or a log: behind a prefix, so that it cannot begin
/// a command of a build log or pass for a line of ours.
pub fn console_line(console: &str, line: &[u8], chars_max: usize) -> String {
    format!("{}| {}", terminal(console), terminal_cut(&terminal_bytes(line), chars_max))
}

/// `text` for XML 1.0, before its serializer turns `<`, `>`, `&` and quotes into entities: without
/// the characters that XML does not allow or a terminal would obey; cut as [`terminal_cut`] does.
pub fn xml(text: &str, chars_max: usize) -> String {
    terminal_cut(text, chars_max)
}

/// `text` between two tags of HTML, in no `<script>` and no `<style>`: no tag, no entity, and no
/// character that would turn the direction of what stands around it.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in terminal(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            _ => out.push(c),
        }
    }
    out
}

/// `text` as the value of an attribute of HTML, its quotes included: `title=` and this. Not for an
/// address, a style or an event handler, where words alone may do harm.
pub fn html_attribute(text: &str) -> String {
    format!("\"{}\"", html(text))
}

/// A text cell of CSV, before its writer quotes it: no spreadsheet takes it for a formula.
pub fn csv(text: &str) -> String {
    let inert = terminal(text);
    let formula = text.trim_start().starts_with(['=', '+', '-', '@'])
        || text.starts_with(['\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if formula { format!("'{inert}") } else { inert }
}

/// The message of one of GitHub's workflow commands, its lines kept, at most `chars_max` characters.
pub fn github_message(lines: &[String], chars_max: usize) -> String {
    let lines: Vec<String> = lines.iter().map(|line| terminal_cut(line, chars_max)).collect();
    let mut text = lines.join("\n");
    if text.chars().count() > chars_max {
        text = text.chars().take(chars_max).collect::<String>() + "...";
    }
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property of one of GitHub's workflow commands, at most `chars_max` characters.
pub fn github_property(text: &str, chars_max: usize) -> String {
    let text = terminal_cut(text, chars_max);
    text.replace('%', "%25").replace(':', "%3A").replace(',', "%2C")
}

/// `text` in one word of a shell. What nobody could see or copy, a line feed or bytes that are no
/// UTF-8, is written as `$'..'` has it (bash, zsh, ksh; POSIX.1-2024, 2.2.4).
pub fn shell_word(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-=:,+@%".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_active) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        Ok(_) | Err(_) => {
            format!("$'{}'", bytes.utf8_chunks().map(dollar_quoted).collect::<String>())
        }
    }
}

/// A part of what stands within `$'` and `'`: octal, since a hexadecimal escape may swallow digits
/// that follow.
fn dollar_quoted(chunk: Utf8Chunk<'_>) -> String {
    let octal = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:03o}")).collect::<String>();
    let valid = chunk.valid().chars().map(|c| match c {
        '\\' | '\'' => format!("\\{c}"),
        c if is_active(c) => octal(c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => c.to_string(),
    });
    valid.collect::<String>() + &octal(chunk.invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_back_what_was_meant() {
        assert_eq!(shell_word("a/b=c-4KiB"), "a/b=c-4KiB");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("a\n1'\\\u{202e}b"), r"$'a\0121\'\\\342\200\256b'");
        assert_eq!(shell_word(OsStr::from_bytes(b"a \xff1")), r"$'a \3771'");
    }

    #[test]
    fn nothing_that_a_terminal_would_obey_comes_through() {
        let hostile = "a\x1b[2Jb\x07\x7f\u{9b}31m\u{202e}txt\u{2066}\r\n\0\u{2028}";
        let inert = terminal(hostile);
        assert!(!inert.chars().any(is_active), "{inert:?}");
        assert_eq!(inert, r"a\x1b[2Jb\x07\x7f\x9b31m\u{202e}txt\u{2066}\x0d\x0a\x00\u{2028}");
    }

    #[test]
    fn what_nobody_would_see_is_shown() {
        assert_eq!(terminal("d\u{200b}0\u{ad}-\u{e0041}x"), r"d\u{200b}0\xad-\u{e0041}x");
        assert_eq!(terminal("\u{1f468}\u{200d}\u{1f469}"), "\u{1f468}\u{200d}\u{1f469}");
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
