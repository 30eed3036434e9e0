//! What a snippet starts from and what it leaves: one record for both, and for both sides.

use std::io::{self, Read, Write};

/// The page that snippets are put into; the rest of it is `int3`, which ends a run.
pub const CODE: u64 = 0x1000_0000;
/// Where in it a snippet starts: short jumps stay inside, both ways.
pub const ENTRY: u64 = CODE + 0x800;
/// Two pages that may be written, then one that may only be read. Around them lies nothing.
pub const DATA: u64 = 0x2000_0000;
/// The page behind those that may be written.
pub const READ_ONLY: u64 = DATA + 2 * PAGE;
/// Behind all of them.
pub const DATA_END: u64 = READ_ONLY + PAGE;
/// The base of GS on both sides.
pub const GS_BASE: u64 = 0x40;
/// The last offset of GS in 32-bit code: in the middle of what may be written.
pub const GS_LIMIT: u64 = DATA + 0xfff;
/// Selectors as the host's kernel has them: 64-bit code, 32-bit code, flat data.
pub const CODE_64: u16 = 0x33;
pub const CODE_32: u16 = 0x23;
pub const FLAT: u16 = 0x2b;
/// The first segment of the child's local table: what GS holds, and DS and ES may.
pub const LIMITED: u16 = 7;
pub const PAGE: u64 = 4096;
/// How many bytes of data are set before a run; all others are zero.
pub const WINDOW: usize = 1024;
/// How many bytes of code there may be.
pub const CODE_MAX: usize = 256;
/// How many bytes of the FXSAVE area are state, before what the kernel keeps behind it.
pub const FX_STATE: usize = 416;

/// Places in the FXSAVE area (SDM volume 1, table 10-2).
pub mod fx {
    pub const CONTROL: usize = 0;
    pub const STATUS: usize = 2;
    pub const TAGS: usize = 4;
    /// Opcode and pointers of the last x87 instruction: processors differ in when they keep them.
    pub const POINTERS: std::ops::Range<usize> = 6..24;
    pub const MXCSR: usize = 24;
    pub const MXCSR_MASK: std::ops::Range<usize> = 28..32;
    pub const ST: usize = 32;
    pub const XMM: usize = 160;
}

/// How a run ended: the exception, with the error code and CR2 where it has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trap {
    pub vector: u64,
    pub error: u64,
    pub address: u64,
}

/// Registers, data and code.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// In encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8 to r15.
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    /// What CS holds: [`CODE_64`] or [`CODE_32`].
    pub code_segment: u64,
    /// What DS and ES hold: [`FLAT`] or [`LIMITED`].
    pub data_segment: u64,
    /// x87 and SSE, as FXSAVE writes them.
    pub fx: [u8; 512],
    /// Where `data` lies.
    pub window: u64,
    pub data: [u8; WINDOW],
    pub code: [u8; CODE_MAX],
    /// After a run.
    pub trap: Trap,
    /// After a run: a byte outside of the window was written.
    pub stray: u64,
}

impl Record {
    pub fn new() -> Self {
        Self {
            gpr: [0; 16],
            rip: ENTRY,
            rflags: 0,
            code_segment: CODE_64.into(),
            data_segment: FLAT.into(),
            fx: [0; 512],
            window: DATA,
            data: [0; WINDOW],
            code: [0xcc; CODE_MAX],
            trap: Trap::default(),
            stray: 0,
        }
    }

    /// Vector register `number`.
    pub fn xmm(&self, number: usize) -> u128 {
        u128::from_le_bytes(self.fx_bytes(fx::XMM + 16 * number))
    }

    pub fn set_xmm(&mut self, number: usize, value: u128) {
        self.fx[fx::XMM + 16 * number..][..16].copy_from_slice(&value.to_le_bytes());
    }

    /// x87 register `ST(number)`, 80 bits.
    pub fn st(&self, number: usize) -> u128 {
        u128::from_le_bytes(self.fx_bytes(fx::ST + 16 * number)) & (u128::MAX >> 48)
    }

    pub fn set_st(&mut self, number: usize, value: u128) {
        let value = value & (u128::MAX >> 48);
        self.fx[fx::ST + 16 * number..][..16].copy_from_slice(&value.to_le_bytes());
    }

    /// The two bytes at `offset` of the FXSAVE area.
    pub fn fx_u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.fx_bytes(offset))
    }

    pub fn set_fx_u16(&mut self, offset: usize, value: u16) {
        self.fx[offset..][..2].copy_from_slice(&value.to_le_bytes());
    }

    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.fx_bytes(fx::MXCSR))
    }

    pub fn set_mxcsr(&mut self, value: u32) {
        self.fx[fx::MXCSR..][..4].copy_from_slice(&value.to_le_bytes());
    }

    fn fx_bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|i| self.fx[offset + i])
    }

    /// Whether it is 32-bit code.
    pub fn is_narrow(&self) -> bool {
        self.code_segment == CODE_32.into()
    }

    /// The offset in `data` of address `at`, if it lies there with `bytes` bytes.
    pub fn offset(&self, at: u64, bytes: usize) -> Option<usize> {
        let offset = usize::try_from(at.wrapping_sub(self.window)).ok()?;
        (offset.checked_add(bytes)? <= WINDOW).then_some(offset)
    }

    /// Puts bytes to address `at`, as far as that is in the window.
    pub fn poke(&mut self, at: u64, bytes: &[u8]) {
        if let Some(offset) = self.offset(at, bytes.len()) {
            self.data[offset..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Sends it to the other process.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let numbers = [self.rip, self.rflags, self.window, self.code_segment, self.data_segment];
        let trap = [self.trap.vector, self.trap.error, self.trap.address, self.stray];
        for number in self.gpr.iter().chain(&numbers).chain(&trap) {
            to.write_all(&number.to_le_bytes())?;
        }
        to.write_all(&self.fx)?;
        to.write_all(&self.data)?;
        to.write_all(&self.code)
    }

    /// Receives it from the other process.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut record = Self::new();
        let number = |from: &mut dyn Read| -> io::Result<u64> {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        };
        for register in &mut record.gpr {
            *register = number(from)?;
        }
        let Record { rip, rflags, window, code_segment, data_segment, .. } = &mut record;
        for field in [rip, rflags, window, code_segment, data_segment] {
            *field = number(from)?;
        }
        let Trap { vector, error, address } = &mut record.trap;
        for field in [vector, error, address, &mut record.stray] {
            *field = number(from)?;
        }
        from.read_exact(&mut record.fx)?;
        from.read_exact(&mut record.data)?;
        from.read_exact(&mut record.code)?;
        Ok(record)
    }
}
