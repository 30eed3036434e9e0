//! RON's text as brackets, strings and comments: what is looked at to say where a fault is.

use std::ops::Range;

/// `text` without the comments and blanks around its value (ron keeps those before it).
pub fn without_comments(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        text = if let Some(rest) = text.strip_prefix("//") {
            rest.find('\n').map_or("", |at| &rest[at..]).trim_start()
        } else if text.starts_with("/*") {
            text[block_comment(text).unwrap_or(text.len())..].trim_start()
        } else {
            break;
        }
    }
    let end = Scan::new(text).value_end();
    text[..end].trim_end()
}

/// Where the (nested) block comment at the start of `text` ends; `None` if it never does.
pub fn block_comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = text.as_bytes();
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => (depth, at) = (depth + 1, at + 2),
            (b'*', b'/') => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Bytes of the string literal at the start of `rest`, quotes included; `None` if it never ends.
pub fn string_end(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Bytes of the raw string literal (`r#"..."#`) at the start of `rest`, if there is one.
fn raw_string_end(rest: &[u8]) -> Option<usize> {
    let hashes = rest.get(1..)?.iter().take_while(|byte| **byte == b'#').count();
    if rest[0] != b'r' || rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let closing = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let inside = &rest[hashes + 2..];
    let end = inside.windows(closing.len()).position(|part| part == closing);
    Some(end.map_or(rest.len(), |end| hashes + 2 + end + closing.len()))
}

/// Whether the string literal at the start of `rest`, raw or not, never ends.
fn is_open(rest: &[u8]) -> bool {
    match raw_string_end(rest) {
        Some(end) => {
            let hashes = rest.iter().skip(1).take_while(|byte| **byte == b'#').count();
            let closing = [&b"\""[..], &b"#".repeat(hashes)].concat();
            end < 2 * (hashes + 1) + 1 || !rest[..end].ends_with(&closing)
        }
        None => string_end(rest).is_none(),
    }
}

/// Bytes of the character literal at the start of `rest`, if there is one.
fn char_end(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map(|(at, _)| at + 3);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

/// How the brackets of a text come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brackets {
    /// Each is closed by its own.
    Paired,
    /// This one is open at the end.
    NeverClosed(usize, char),
    /// The first is closed by another kind.
    Crossed((usize, char), (usize, char)),
    /// This one closes nothing.
    ClosesNothing(usize, char),
}

/// Walks over RON's text outside strings and comments.
pub struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// From the start of `text` on.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is neither in a string nor in a comment, and its place. A string is
    /// told as one `"`, a character as one `'`.
    fn next_byte(&mut self) -> Option<(usize, u8)> {
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let here = self.at;
            match *rest {
                [] => return None,
                [b'"', ..] => {
                    self.at += string_end(rest).unwrap_or(rest.len());
                    return Some((here, b'"'));
                }
                [b'r', b'#' | b'"', ..] if raw_string_end(rest).is_some() => {
                    self.at += raw_string_end(rest).unwrap_or(rest.len());
                    return Some((here, b'"'));
                }
                [b'\'', ..] => {
                    self.at += char_end(&self.text[here..]).unwrap_or(1);
                    return Some((here, b'\''));
                }
                [b'/', b'/', ..] => {
                    self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                }
                [b'/', b'*', ..] => {
                    self.at += block_comment(&self.text[here..]).unwrap_or(rest.len());
                }
                [byte, ..] => {
                    self.at += 1;
                    return Some((here, byte));
                }
            }
        }
    }

    /// The next byte that is no blank either.
    fn next_sign(&mut self) -> Option<(usize, u8)> {
        loop {
            let (at, byte) = self.next_byte()?;
            if !byte.is_ascii_whitespace() {
                return Some((at, byte));
            }
        }
    }

    /// The end of the last byte that belongs to the value.
    fn value_end(mut self) -> usize {
        let mut end = 0;
        while let Some((at, byte)) = self.next_sign() {
            end = if byte == b'"' || byte == b'\'' { self.at } else { at + 1 };
        }
        end.min(self.text.len())
    }

    /// The brackets that are open at `until`.
    pub fn open_brackets(mut self, until: usize) -> Vec<(usize, char)> {
        let mut open = Vec::new();
        while let Some((at, byte)) = self.next_byte() {
            if at >= until {
                break;
            }
            match byte {
                b'(' | b'[' | b'{' => open.push((at, char::from(byte))),
                b')' | b']' | b'}' => drop(open.pop()),
                _ => (),
            }
        }
        open
    }

    /// Whether every bracket has its own.
    pub fn brackets(mut self) -> Brackets {
        let mut open: Vec<(usize, char)> = Vec::new();
        while let Some((at, byte)) = self.next_byte() {
            let byte = char::from(byte);
            match (byte, open.last()) {
                ('(' | '[' | '{', _) => open.push((at, byte)),
                (')', Some((_, '('))) | (']', Some((_, '['))) | ('}', Some((_, '{'))) => {
                    open.pop();
                }
                (')' | ']' | '}', Some(other)) => return Brackets::Crossed(*other, (at, byte)),
                (')' | ']' | '}', None) => return Brackets::ClosesNothing(at, byte),
                _ => (),
            }
        }
        open.last().map_or(Brackets::Paired, |(at, byte)| Brackets::NeverClosed(*at, *byte))
    }

    /// The text that is opened and never closed, if there is one: the first behind which nothing
    /// stands that may follow a text, for that is where the missing `"` is.
    pub fn open_string(mut self) -> Option<usize> {
        let mut is_last_open = None;
        let mut suspect = None;
        while let Some((at, byte)) = self.next_byte() {
            if byte != b'"' {
                continue;
            }
            let rest = self.text[self.at..].trim_start();
            let may_follow = rest.starts_with([',', ')', ']', '}', ':', '/']) || rest.is_empty();
            if !may_follow && suspect.is_none() {
                suspect = Some(at);
            }
            is_last_open = is_open(&self.text.as_bytes()[at..]).then_some(at);
        }
        is_last_open.map(|at| suspect.unwrap_or(at))
    }
}

/// The bracket that closes the one at `open`.
pub fn closing(text: &str, open: usize) -> Option<usize> {
    let mut scan = Scan { text, at: open };
    let mut depth = 0_usize;
    while let Some((at, byte)) = scan.next_byte() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => (),
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The field at `at` with its value and the comma behind it.
pub fn field(text: &str, at: usize) -> Range<usize> {
    let mut scan = Scan { text, at };
    let mut depth = 0_usize;
    while let Some((place, byte)) = scan.next_byte() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return at..place,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => return at..place + 1,
            _ => (),
        }
    }
    at..text.len()
}

/// The end of the last sign before `at` that is neither blank nor comment, and that sign.
pub fn sign_before(text: &str, at: usize) -> Option<(usize, char)> {
    let mut scan = Scan::new(text.get(..at)?);
    let mut last = None;
    while let Some((_, byte)) = scan.next_sign() {
        last = Some((scan.at.min(at), char::from(byte)));
    }
    last
}

/// The word (identifier, number or string) at `at`.
pub fn word_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or("");
    if rest.starts_with('"') {
        return &rest[..string_end(rest.as_bytes()).unwrap_or(rest.len())];
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && !"_.+-".contains(c));
    &rest[..end.unwrap_or(rest.len())]
}

/// What is between the quotes of a text that is one string without escapes.
pub fn unquoted(text: &str) -> Option<&str> {
    let is_one = text.starts_with('"') && string_end(text.as_bytes()) == Some(text.len());
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    (is_one && !inner.contains('\\')).then_some(inner)
}

/// The struct around `at`, from its name on, up to the bracket at `at`.
pub fn enclosing(text: &str, at: usize) -> Range<usize> {
    let open = Scan::new(text).open_brackets(at).last().map_or(0, |(open, _)| *open);
    let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
    name_before(text, open)..end
}

/// Where the name that ends at `at` begins.
pub fn name_before(text: &str, at: usize) -> usize {
    text[..at].trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_brackets_in_strings_do_not_count() {
        assert_eq!(without_comments("/* a /* b */ */ // c\n \"x // y\" // z"), "\"x // y\"");
        assert_eq!(Scan::new("(\")\" /* ( */ [").open_brackets(usize::MAX), [(0, '('), (13, '[')]);
        assert_eq!(Scan::new("(r#\"a\" )\"#, '\"', ')')").brackets(), Brackets::Paired);
        assert_eq!(Scan::new("(r\")\", rows: ')', '\\'')").brackets(), Brackets::Paired);
    }

    #[test]
    fn a_bracket_without_its_own_is_found() {
        assert_eq!(Scan::new("([)").brackets(), Brackets::Crossed((1, '['), (2, ')')));
        assert_eq!(Scan::new("())").brackets(), Brackets::ClosesNothing(2, ')'));
        assert_eq!(Scan::new("(()").brackets(), Brackets::NeverClosed(0, '('));
        assert_eq!(closing("(a(b)c)d", 0), Some(6));
    }

    #[test]
    fn a_missing_quote_is_looked_for_where_the_text_goes_wrong() {
        assert_eq!(Scan::new("(a: \"x, b: \"y\", c: 3)").open_string(), Some(4));
        assert_eq!(Scan::new("(a: \"x\", b: \"y)").open_string(), Some(12));
        assert_eq!(Scan::new("(a: \"x\", b: r\"y\")").open_string(), None);
        assert_eq!(Scan::new("(a: r##\"x\"#, b: 1)").open_string(), Some(4));
        assert_eq!(Scan::new("(a: r#\"x\"y\"#, b: 1)").open_string(), None);
    }

    #[test]
    fn a_field_ends_at_its_comma_or_at_the_bracket_around_it() {
        assert_eq!(field("(a: (b, c), d: 1)", 1), 1..11);
        assert_eq!(field("(a: (b, c), d: 1)", 12), 12..16);
    }
}
