//! How numbers and things are said to people.

use crate::event::{CallFrame, Cause, Chain, DeviceIndex, QueueIndex};
use crate::scenario::plan::Plan;
use textwrap::core::display_width;

/// No line for people is longer, but for commands to copy.
pub const COLUMNS: usize = 100;

/// Virtual time: `850 ns`, `3.214 us`, `1.204 ms`, `2.500 s`.
pub fn time(ns: u64) -> String {
    let (scale, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    format!("{}.{:03} {unit}", ns / scale, (ns % scale) / (scale / 1_000))
}

/// A device by its id.
pub fn device(plan: &Plan, device: Option<DeviceIndex>) -> &str {
    match device {
        None => "the hypervisor",
        Some(DeviceIndex(index)) => {
            plan.devices.get(usize::from(index)).map_or("a device", |device| device.id.as_str())
        }
    }
}

/// `disk queue 0`, or `the hypervisor`.
pub fn toucher(plan: &Plan, by: Option<DeviceIndex>, queue: Option<QueueIndex>) -> String {
    match queue {
        Some(QueueIndex(queue)) => format!("{} queue {queue}", device(plan, by)),
        None => device(plan, by).to_owned(),
    }
}

/// Why a unit went out or who wrote there.
pub fn cause(plan: &Plan, cause: Cause) -> String {
    match cause {
        Cause::Touch { device, queue, part } => {
            format!("{} touched {}", toucher(plan, device, queue), part.name())
        }
        Cause::Asked => "the hypervisor asked for it".to_owned(),
    }
}

/// A place in the guest: `function+0xoffset`, else the address.
pub fn frame(frame: &CallFrame) -> String {
    match frame.function.as_str() {
        "" => format!("{:#x}", frame.pc),
        name => name.to_owned(),
    }
}

/// The innermost `frames_max` functions of a call chain.
pub fn chain(chain: &Chain, frames_max: usize) -> String {
    let frames: Vec<String> = chain.iter().take(frames_max).map(frame).collect();
    frames.join(", from ")
}

/// "1 run", "2 runs".
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `text` broken at blanks into lines of at most [`COLUMNS`] of a terminal, each after `first` or as
/// many blanks.
/// No line begins with `::`, which GitHub's runner would take for a command.
pub fn wrapped(first: &str, text: &str) -> String {
    let indent = " ".repeat(display_width(first));
    let room = COLUMNS.saturating_sub(indent.len()).max(20);
    let (mut out, mut line) = (first.to_owned(), 0);
    let mut is_bare = first.trim().is_empty();
    for word in text.split(' ') {
        let length = display_width(word);
        if line > 0 && line + 1 + length > room {
            out.push('\n');
            out.push_str(&indent);
            (line, is_bare) = (0, true);
        } else if line > 0 {
            out.push(' ');
            line += 1;
        }
        // A word longer than a line is cut into lines.
        for (at, (byte, c)) in word.char_indices().enumerate() {
            let columns = display_width(c.encode_utf8(&mut [0; 4]));
            if at > 0 && line + columns > room {
                out.push('\n');
                out.push_str(&indent);
                (line, is_bare) = (0, true);
            }
            if is_bare && word[byte..].starts_with("::") {
                out.push_str("\\x3a");
                line += 3;
            } else {
                out.push(c);
            }
            is_bare = false;
            line += columns;
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_decimals_and_no_rounding_up() {
        let said = [999, 1_000, 1_999_999, 2_500_000_000].map(time);
        assert_eq!(said, ["999 ns", "1.000 us", "1.999 ms", "2.500 s"]);
    }

    #[test]
    fn no_wrapped_line_begins_a_command_of_a_build_log() {
        let cut = format!("{}::error::b", "x".repeat(COLUMNS - 2));
        let text = format!("::error::a {} ::error::c {cut}", "x".repeat(COLUMNS - 10));
        let out = wrapped("  ", &text);
        assert_eq!(out.matches(r"\x3a:error").count(), 3, "{out}");
        assert!(!out.lines().any(|line| line.trim_start().starts_with("::")), "{out}");
        assert_eq!(wrapped("no  ", "::error::a"), "no  ::error::a\n");
    }

    #[test]
    fn wrapped_text_keeps_every_word_and_no_line_is_too_long() {
        let text = format!("{} {} end", "word ".repeat(60).trim_end(), "x".repeat(250));
        let out = wrapped("    see  ", &text);
        assert!(out.lines().all(|line| line.chars().count() <= COLUMNS), "{out}");
        let kept: String = out.split_whitespace().skip(1).collect();
        assert_eq!(kept, text.replace(' ', ""));
    }

    #[test]
    fn letters_of_two_columns_count_twice() {
        let out = wrapped("", &"\u{6f22}".repeat(COLUMNS));
        assert!(out.lines().all(|line| line.chars().count() <= COLUMNS / 2), "{out}");
    }
}
