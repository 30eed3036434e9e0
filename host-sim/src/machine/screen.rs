//! The text screen of a PC (IBM PC, video mode 3): guests that know no serial line write there. What
//! stands on it when the run ends is told as console text.
//!
//! It is memory and nothing else: there is no cursor and there are no registers, and what has been
//! scrolled away is gone.

use super::Machine;
use ultravisor_abi::Gpa;

/// Where the screen's memory is.
const MEMORY: Gpa = Gpa(0xb_8000);
const COLUMNS: usize = 80;
const ROWS: usize = 25;
/// A character and its colours.
const CELL_BYTES: usize = 2;

/// The lines of a screen, without what is empty behind and below them. What is no printable ASCII is
/// told as `.`.
fn lines(screen: &[u8]) -> Vec<Vec<u8>> {
    let cell = |cell: &[u8]| match cell[0] {
        0 => b' ',
        character @ b' '..=b'~' => character,
        _ => b'.',
    };
    let row = |row: &[u8]| {
        let text: Vec<u8> = row.chunks_exact(CELL_BYTES).map(cell).collect();
        text.trim_ascii_end().to_vec()
    };
    let mut lines: Vec<Vec<u8>> = screen.chunks_exact(COLUMNS * CELL_BYTES).map(row).collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

impl Machine<'_> {
    /// What stands on the screen when the run ends, of a guest of a whole PC.
    pub(super) fn print_screen(&mut self) {
        if !self.plan.guest.boot.protocol().is_physical() {
            return;
        }
        let mut screen = [0; ROWS * COLUMNS * CELL_BYTES];
        if self.host.uv.memory().normal().read(MEMORY, &mut screen) {
            for line in lines(&screen) {
                self.host.hv.print(&[line.as_slice(), b"\n"].concat());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_the_screen_is_told_line_by_line_and_nothing_of_an_empty_one() {
        let mut screen = vec![0; ROWS * COLUMNS * CELL_BYTES];
        assert!(lines(&screen).is_empty());
        let mut put = |row: usize, column: usize, text: &[u8]| {
            for (at, byte) in text.iter().enumerate() {
                let cell = ((row * COLUMNS) + column + at) * CELL_BYTES;
                screen[cell..cell + CELL_BYTES].copy_from_slice(&[*byte, 7]);
            }
        };
        put(0, 78, b"ab");
        put(2, 1, b"c\x1b[ \xdb  ");
        put(3, 0, b"   ");
        let wanted = [format!("{}ab", " ".repeat(78)).into_bytes(), vec![], b" c.[ .".to_vec()];
        assert_eq!(lines(&screen), wanted);
    }
}
