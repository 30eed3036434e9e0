//! What a PC's firmware leaves in memory for whoever asks (IBM PC AT, Technical Reference, "BIOS data
//! area"): kernels look there for the end of conventional memory and for serial ports.

use super::map::CONVENTIONAL_END;

/// Where the BIOS data area begins.
pub const DATA_AREA: u64 = 0x400;
/// Its bytes.
const DATA_BYTES: usize = 0x100;
/// COM1's first port.
pub const COM1: u16 = 0x3f8;
/// What is there: a coprocessor, a colour screen of 80 columns, one serial port.
const EQUIPMENT: u16 = 1 << 1 | 0b10 << 4 | 1 << 9;
/// Where the screen's controller would be, were there one.
const SCREEN: u16 = 0x3d4;

/// Where fields lie in it.
mod at {
    pub const COM1: usize = 0x00;
    pub const EXTENDED_AREA: usize = 0x0e;
    pub const EQUIPMENT: usize = 0x10;
    pub const MEMORY_KIB: usize = 0x13;
    pub const VIDEO_MODE: usize = 0x49;
    pub const COLUMNS: usize = 0x4a;
    pub const SCREEN: usize = 0x63;
    pub const LAST_ROW: usize = 0x84;
}

/// The BIOS data area.
pub fn data_area() -> [u8; DATA_BYTES] {
    let mut area = [0; DATA_BYTES];
    for (at, value) in [
        (at::COM1, COM1),
        // As a segment of real mode.
        (at::EXTENDED_AREA, (CONVENTIONAL_END >> 4) as u16),
        (at::EQUIPMENT, EQUIPMENT),
        (at::MEMORY_KIB, (CONVENTIONAL_END >> 10) as u16),
        (at::COLUMNS, 80),
        (at::SCREEN, SCREEN),
    ] {
        area[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    (area[at::VIDEO_MODE], area[at::LAST_ROW]) = (3, 24);
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventional_memory_ends_where_the_memory_map_says() {
        let area = data_area();
        let word = |at: usize| u64::from(u16::from_le_bytes([area[at], area[at + 1]]));
        assert_eq!(word(0x0e) * 16, CONVENTIONAL_END);
        assert_eq!(word(0x13) * 1024, CONVENTIONAL_END);
        assert_eq!((word(0), word(2)), (0x3f8, 0), "one serial port");
    }
}
