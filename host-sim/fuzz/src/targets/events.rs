//! Saved event files: what is read back is whole and can be counted, and what is refused is told in
//! an inert line.

use host_sim::escape;
use host_sim::saved::Reader;

/// Runs of one file that are looked at.
const RUNS_MAX: usize = 8;

/// Reads the file. *Returns* what is said of the run that is refused, if one is.
fn read(data: &[u8]) -> Option<String> {
    for run in Reader::new(data, "fuzz.ndjson").take(RUNS_MAX) {
        match run {
            Ok(saved) => {
                let counters = saved.head.counters(&saved.records);
                let findings = saved.head.findings(&saved.records, &counters);
                assert!(!findings.is_empty());
            }
            Err(fault) => {
                let said = escape::terminal(&fault.message);
                assert!(!said.contains(escape::is_active), "{said:?}");
                return Some(fault.message);
            }
        }
    }
    None
}

/// The hash that the events have, and the one that the file says they have.
fn hashes(refused: &str) -> Option<(&str, &str)> {
    let (_, rest) = refused.split_once("` is ")?;
    let (right, rest) = rest.split_once(", and the file says ")?;
    let (wrong, _) = rest.split_once(": its events were changed")?;
    Some((right, wrong))
}

/// Reads the file, and once more with the hash that its events have: no fuzzer finds one.
pub fn run(data: &[u8]) {
    let Some(refused) = read(data) else { return };
    if let Some((right, wrong)) = hashes(&refused)
        && let Ok(text) = std::str::from_utf8(data)
        && !wrong.is_empty()
    {
        read(text.replacen(wrong, right, 1).as_bytes());
    }
}
