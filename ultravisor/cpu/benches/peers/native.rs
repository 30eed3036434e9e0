//! What waits for memory, done by this processor without any engine: the bound of every engine.

use crate::workloads::{FROM, LINE, LINES};

/// [`crate::workloads`]' chase, `rounds` times around; its checksum.
pub fn chase(rounds: u32) -> u64 {
    let next = |line: u64| FROM + ((line * 0x1_a4b5 + 0x1_2345) % LINES) * LINE;
    let lines: Vec<[u64; (LINE / 8) as usize]> =
        (0..LINES).map(|line| [next(line), 0, 0, 0, 0, 0, 0, 0]).collect();
    let (mut at, mut seen) = (FROM, 0);
    for _ in 0..u64::from(rounds) * LINES {
        [at, ..] = lines[((at - FROM) / LINE) as usize];
        seen ^= at;
    }
    seen.wrapping_add(at)
}
