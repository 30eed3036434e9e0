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

/// The hash or seal that the file should have, and the one that it says.
fn hashes(refused: &str) -> Option<(&str, &str)> {
    let (_, rest) = refused.split_once("` is ")?;
    let (right, rest) = rest.split_once(", and the file says ")?;
    let (wrong, _) = rest.split_once(": its ")?;
    Some((right, wrong))
}

/// Reads the file, and again with the hash over its events and then with the seal that fit: no
/// fuzzer finds them.
pub fn run(data: &[u8]) {
    let Ok(mut text) = String::from_utf8(data.to_vec()) else {
        read(data);
        return;
    };
    for _ in 0..3 {
        let Some(refused) = read(text.as_bytes()) else { return };
        let Some((right, wrong)) = hashes(&refused).filter(|(_, wrong)| !wrong.is_empty()) else {
            return;
        };
        text = text.replacen(wrong, right, 1);
    }
}
