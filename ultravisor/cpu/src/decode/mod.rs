//! From bytes to blocks: fetch, decode with iced-x86, lower to uops, drop dead flags.

mod arith;
mod copy;
mod extension;
mod flow;
mod liveness;
mod misc;
mod mmx;
mod narrow;
mod operand;
mod reach;
mod sse;
mod sse4;
mod system;
mod x87;

use crate::blocks::{Block, UOPS_MAX};
use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::exec::moves::Prepare;
use crate::exec::system::{undefined, unsupported};
use crate::form::Form;
use crate::mem::{OFFSET, PAGE, Side};
use crate::paging::Place;
use crate::uop::{Handler, Left, Meaning, Uop, note, nothing, plain, step};
use iced_x86::{
    CodeSize, Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic, OpKind, Register,
    RflagsBits,
};
use operand::Kind;

/// The longest instruction, in bytes.
const LENGTH_MAX: usize = 15;
/// More uops than most blocks have.
const UOPS_USUAL: usize = 16;
/// The most bytes that a block's instructions have.
const BLOCK_BYTES_MAX: usize = UOPS_MAX * LENGTH_MAX;

/// Hints and extensions in the space of reserved NOPs (PREFETCHh, CLDEMOTE, ENDBR64, MPX) do
/// nothing, or are not offered and do nothing: they are those NOPs.
const OPTIONS: u32 = DecoderOptions::FORCE_RESERVED_NOP;

/// The arithmetic flags as iced-x86 names them.
const ALL_FLAGS: u32 = RflagsBits::OF
    | RflagsBits::SF
    | RflagsBits::ZF
    | RflagsBits::AF
    | RflagsBits::CF
    | RflagsBits::PF;

/// One instruction in executable form, with what the block's optimiser must know.
pub(crate) struct Lowered {
    pub uop: Uop,
    /// What it was, for fusing.
    pub mnemonic: Mnemonic,
    /// The kinds of its two operands, where it may be fused.
    pub operands: Option<(Kind, Kind)>,
    /// The handler that computes no flags.
    pub quiet: Option<Handler>,
    /// Flags that it reads.
    pub reads: u32,
    /// Flags that it writes in any case.
    pub writes: u32,
    /// It can leave the block before it has happened.
    pub exits: bool,
    /// It ends its block.
    pub ends: bool,
}

impl Lowered {
    /// An instruction with a handler of its own. Until told otherwise it may exit, reads what
    /// iced-x86 says, and is not relied on to write any flag.
    pub fn new(instruction: &Instruction, run: Handler) -> Self {
        let reads = instruction.rflags_read() & ALL_FLAGS;
        let uop = Uop::new(run, nothing);
        Self {
            uop,
            mnemonic: instruction.mnemonic(),
            operands: None,
            quiet: None,
            reads,
            writes: 0,
            exits: true,
            ends: false,
        }
    }

    /// An instruction behind the general handler.
    pub fn plain(instruction: &Instruction, meaning: Meaning) -> Self {
        let mut lowered = Self::new(instruction, plain);
        lowered.uop.meaning = meaning;
        lowered
    }

    /// It always writes the flags that iced-x86 says it modifies.
    pub fn writes_flags(mut self, instruction: &Instruction) -> Self {
        self.writes = instruction.rflags_modified() & ALL_FLAGS;
        self
    }

    /// It has a handler without flags. What stores keeps its flags: when it is done the run can
    /// end, because the code behind it is no more what was decoded.
    pub fn quiet(mut self, instruction: &Instruction, handler: Handler) -> Self {
        self.quiet = (instruction.op0_kind() != OpKind::Memory).then_some(handler);
        self
    }

    /// It always completes.
    pub fn completes(mut self) -> Self {
        self.exits = false;
        self
    }

    /// It ends its block.
    pub fn ends(mut self) -> Self {
        self.ends = true;
        self
    }
}

/// Whether the engine implements this form. What it does not implement ends a run with
/// [`crate::Exit::Unsupported`].
pub fn supports(instruction: &Instruction) -> bool {
    let form = match instruction.code_size() {
        CodeSize::Unknown | CodeSize::Code64 => Form::Long,
        CodeSize::Code32 => Form::Segmented,
        CodeSize::Code16 => return false,
    };
    lower(instruction, form).is_some()
}

/// The list of families: the table of what is implemented.
fn lower(instruction: &Instruction, form: Form) -> Option<Lowered> {
    arith::lower(instruction)
        .or_else(|| {
            if form.is_narrow() {
                narrow::lower(instruction, form)
            } else {
                flow::lower(instruction)
            }
        })
        .or_else(|| sse::lower(instruction))
        .or_else(|| extension::lower(instruction))
        .or_else(|| x87::lower(instruction))
        .or_else(|| misc::lower(instruction))
        .or_else(|| system::lower(instruction))
}

/// Bytes at an address, as many as decoding may need.
struct Fetched {
    bytes: [u8; BLOCK_BYTES_MAX],
    length: usize,
    frame: u64,
    /// Where they lie.
    linear: u64,
    /// How many more the code segment has.
    more: usize,
}

/// What lies at `va`, to the end of its page or of the code segment.
fn fetch(cpu: &mut Cpu, bus: &mut dyn Bus, va: u64) -> Result<Fetched, Left> {
    let room = cpu.code_room(va)?;
    let linear = cpu.code_address(va);
    let Place::Ram(frame, page) = cpu.translate(bus, linear, Side::Fetch)? else {
        return Err(cpu.unsupported());
    };
    let length = BLOCK_BYTES_MAX.min((PAGE - (linear & OFFSET)) as usize).min(room);
    let more = room - length;
    let mut fetched = Fetched { bytes: [0; BLOCK_BYTES_MAX], length, frame, linear, more };
    page.read(linear & OFFSET, &mut fetched.bytes[..fetched.length]);
    Ok(fetched)
}

/// Decodes the block at `va`: up to a jump, a breakpoint, the page's end, or 64 uops.
pub(crate) fn block(cpu: &mut Cpu, bus: &mut dyn Bus, va: u64) -> Result<Block, Left> {
    let fetched = fetch(cpu, bus, va)?;
    decode(cpu, bus, va, fetched, UOPS_MAX)
}

/// Decodes the instruction at `va` by itself.
pub(crate) fn single(cpu: &mut Cpu, bus: &mut dyn Bus, va: u64) -> Result<Block, Left> {
    let mut fetched = fetch(cpu, bus, va)?;
    fetched.length = fetched.length.min(LENGTH_MAX);
    decode(cpu, bus, va, fetched, 1)
}

fn decode(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    va: u64,
    mut fetched: Fetched,
    most: usize,
) -> Result<Block, Left> {
    let mut builder = Builder::new(va, fetched.linear, cpu.form);
    let bytes = &fetched.bytes[..fetched.length];
    builder.take(cpu, bytes, most);
    if builder.count > 0 {
        return Ok(builder.finish(fetched.frame));
    }
    if fetched.more == 0 {
        return Err(beyond(cpu));
    }
    // The first instruction goes on in the next page.
    let behind = (fetched.linear & !OFFSET).wrapping_add(PAGE);
    let Place::Ram(second, page) = cpu.translate(bus, behind, Side::Fetch)? else {
        return Err(cpu.unsupported());
    };
    let missing = LENGTH_MAX.saturating_sub(fetched.length).min(fetched.more);
    page.read(0, &mut fetched.bytes[fetched.length..fetched.length + missing]);
    builder.take(cpu, &fetched.bytes[..fetched.length + missing], 1);
    if builder.count == 0 {
        return Err(beyond(cpu));
    }
    let mut block = builder.finish(fetched.frame);
    block.second = Some(second);
    Ok(block)
}

/// #GP(0) for an instruction that the code segment ends in.
fn beyond(cpu: &mut Cpu) -> Left {
    cpu.raise(vector::PROTECTION, Some(0))
}

/// Whether `bytes`, which decode as `instruction`, are no instruction of any processor: those are #UD
/// (SDM volume 3, 6.15, "Interrupt 6"). With many prefixes they may be one that is too long, which is
/// #GP(0): our limit, as is what other processors have.
fn is_undefined(instruction: &Instruction, bytes: &[u8]) -> bool {
    /// With so many and a REX no instruction has more than 15 bytes.
    const PREFIXES_MAX: usize = 3;
    const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
    let prefixes = bytes.iter().take_while(|byte| PREFIXES.contains(byte)).count();
    instruction.is_invalid() && prefixes <= PREFIXES_MAX
}

/// A block in the making.
struct Builder {
    va: u64,
    linear: u64,
    form: Form,
    lowered: Vec<Lowered>,
    /// Bytes taken.
    length: usize,
    /// Instructions taken.
    count: u8,
}

impl Builder {
    fn new(va: u64, linear: u64, form: Form) -> Self {
        Self { va, linear, form, lowered: Vec::with_capacity(UOPS_USUAL), length: 0, count: 0 }
    }

    /// Takes up to `most` instructions from `bytes`; none if the first is cut off.
    fn take(&mut self, cpu: &Cpu, bytes: &[u8], most: usize) {
        let mut decoder = Decoder::with_ip(self.form.bitness(), bytes, self.va, OPTIONS);
        while usize::from(self.count) < most && self.lowered.len() + 2 <= UOPS_MAX {
            let next = self.linear.wrapping_add(self.length as u64);
            if self.count > 0 && cpu.breakpoints.contains(&next) {
                return;
            }
            let instruction = decoder.decode();
            if decoder.last_error() == DecoderError::NoMoreBytes && bytes.len() < BLOCK_BYTES_MAX {
                let whole = bytes.len() - self.length >= LENGTH_MAX;
                if !whole {
                    return;
                }
            }
            // What is no instruction depends on all the bytes that might have made it one.
            let cut = bytes.len() - self.length;
            let length =
                if instruction.is_invalid() { LENGTH_MAX.min(cut) } else { instruction.len() };
            let is_undefined = is_undefined(&instruction, &bytes[self.length..]);
            if self.push(&instruction, length, is_undefined) {
                return;
            }
        }
    }

    /// Adds an instruction; whether it ends the block.
    fn push(&mut self, instruction: &Instruction, length: usize, is_undefined: bool) -> bool {
        let mut lowered = lower(instruction, self.form).unwrap_or_else(|| {
            let meaning = if is_undefined { undefined } else { unsupported };
            Lowered::plain(instruction, meaning).ends()
        });
        let uop = &mut lowered.uop;
        uop.at = self.length as u16;
        uop.len = length as u8;
        uop.before = self.count;
        if self.form.is_narrow() {
            self.lowered.extend(reach::prepare(instruction, &mut lowered, self.form));
        } else if operand::needs_preparing(instruction) && !uop.noted(note::ADDRESS_32) {
            let mut prepared = operand::prepare(uop);
            if instruction.mnemonic() == Mnemonic::Pop && instruction.memory_base() == Register::ESP
            {
                // Its address counts from where the stack pointer is afterwards.
                let popped = instruction.memory_size().size() as u64;
                prepared.disp = prepared.disp.wrapping_add(popped);
            }
            let mut first = Lowered::new(&Instruction::default(), step::<Prepare>).completes();
            first.uop = Uop { run: step::<Prepare>, ..prepared };
            self.lowered.push(first);
        }
        self.length += length;
        self.count += 1;
        let ends = lowered.ends;
        let fused = self.lowered.last().and_then(|last| match self.form {
            Form::Segmented => copy::fuse(last, instruction, &lowered),
            Form::Long | Form::Flat | Form::Missing => flow::fuse(last, instruction, &lowered.uop)
                .or_else(|| copy::fuse(last, instruction, &lowered)),
        });
        match (fused, self.lowered.last_mut()) {
            (Some(fused), Some(last)) => *last = fused,
            _ => self.lowered.push(lowered),
        }
        ends
    }

    fn finish(mut self, frame: u64) -> Block {
        liveness::drop_dead_flags(&mut self.lowered);
        let uops = self.lowered.iter().map(|lowered| lowered.uop);
        let end = self.form.cut(self.va.wrapping_add(self.length as u64));
        let mut block = Block::new(self.va, end, frame, uops, u64::from(self.count));
        (block.linear, block.form) = (self.linear, self.form);
        block
    }
}

/// The bytes at `va` and how many could be fetched, with no effect on the run.
pub(crate) fn bytes_at(cpu: &mut Cpu, bus: &mut dyn Bus, va: u64) -> ([u8; 15], usize) {
    let mut bytes = [0; LENGTH_MAX];
    let mut length = 0;
    if let Ok(fetched) = fetch(cpu, bus, va) {
        length = fetched.length.min(LENGTH_MAX);
        bytes[..length].copy_from_slice(&fetched.bytes[..length]);
    }
    if length > 0
        && length < LENGTH_MAX
        && let Ok(behind) = fetch(cpu, bus, cpu.form.cut(va.wrapping_add(length as u64)))
    {
        let more = behind.length.min(LENGTH_MAX - length);
        bytes[length..length + more].copy_from_slice(&behind.bytes[..more]);
        length += more;
    }
    (bytes, length)
}

/// The length of the instruction of such code that `bytes` start with; all of them if it is none.
pub(crate) fn length_of(bytes: &[u8], form: Form) -> u8 {
    let mut decoder = Decoder::new(form.bitness(), bytes, OPTIONS);
    let instruction = decoder.decode();
    if instruction.is_invalid() { bytes.len() as u8 } else { instruction.len() as u8 }
}
