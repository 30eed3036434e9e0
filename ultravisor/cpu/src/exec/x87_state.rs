//! x87's control and state: the words, the environments, and FXSAVE and XSAVE, which take SSE's
//! state with it (SDM volume 1, 8.1.10, 10.5 and 13).

use super::mxcsr::Mxcsr;
use super::sse::reachable;
use super::x87::{available, no_error};
use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::regs::Reg;
use crate::uop::{Left, Uop};
use crate::x87::{X87, control as word, status};

/// `fninit`.
pub(crate) fn initialise(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    available(cpu)?;
    let registers = cpu.regs.x87.registers;
    cpu.regs.x87 = X87 { registers, ..X87::default() };
    Ok(())
}

/// `fnclex`.
pub(crate) fn clear_exceptions(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    available(cpu)?;
    let cleared = status::EXCEPTIONS | status::STACK_FAULT | status::SUMMARY | status::BUSY;
    cpu.regs.x87.status &= !cleared;
    Ok(())
}

/// `fneni`, `fndisi`, `fnsetpm`: what they did ended with the 287.
pub(crate) fn obsolete(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    available(cpu)
}

/// `fnstcw`.
pub(crate) fn store_control(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    available(cpu)?;
    cpu.store::<u16>(bus, cpu.address(uop), cpu.regs.x87.control.into())
}

/// `fldcw`: may make an exception pending.
pub(crate) fn load_control(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    available(cpu)?;
    no_error(cpu)?;
    let value = cpu.load::<u16>(bus, cpu.address(uop))?;
    cpu.regs.x87.set_control(value as u16);
    Ok(())
}

/// `fnstsw m16`.
pub(crate) fn store_status(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    available(cpu)?;
    cpu.store::<u16>(bus, cpu.address(uop), cpu.regs.x87.status.into())
}

/// `fnstsw ax`.
pub(crate) fn status_to_ax(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    available(cpu)?;
    let status = u64::from(cpu.regs.x87.status);
    let rax = &mut cpu.regs.gpr[Reg::Rax];
    *rax = *rax & !0xffff | status;
    Ok(())
}

/// The bytes of an environment of 32-bit fields; of 16-bit ones.
const LONG: usize = 28;
const SHORT: usize = 14;
/// Bytes of a register.
const REGISTER: usize = 10;

/// Control, status and tags, then where the last instruction was (not kept: zeros).
fn environment(x87: &X87, long: bool) -> [u8; LONG] {
    let mut bytes = [0; LONG];
    for (index, value) in [x87.control, x87.status, x87.tag_word()].into_iter().enumerate() {
        let at = if long { 4 * index } else { 2 * index };
        bytes[at..][..2].copy_from_slice(&value.to_le_bytes());
        if long {
            bytes[at + 2..][..2].fill(0xff);
        }
    }
    if long {
        bytes[LONG - 2..].fill(0xff);
    }
    bytes
}

/// Takes control, status and tags from an environment.
fn set_environment(x87: &mut X87, bytes: &[u8], long: bool) {
    let field = |index: usize| {
        let at = if long { 4 * index } else { 2 * index };
        u16::from_le_bytes([bytes[at], bytes[at + 1]])
    };
    x87.set_control(field(0));
    x87.set_status(field(1));
    x87.set_tag_word(field(2));
}

const fn length(long: bool) -> usize {
    if long { LONG } else { SHORT }
}

/// `fnstenv`: masks all exceptions behind it.
pub(crate) fn store_environment<const IS_LONG: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    available(cpu)?;
    let bytes = environment(&cpu.regs.x87, IS_LONG);
    cpu.store_bytes(bus, cpu.address(uop), &bytes[..length(IS_LONG)])?;
    let masked = cpu.regs.x87.control | word::MASKS;
    cpu.regs.x87.set_control(masked);
    Ok(())
}

/// `fldenv`.
pub(crate) fn load_environment<const IS_LONG: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    available(cpu)?;
    no_error(cpu)?;
    let mut bytes = [0; LONG];
    cpu.load_bytes(bus, cpu.address(uop), &mut bytes[..length(IS_LONG)])?;
    set_environment(&mut cpu.regs.x87, &bytes, IS_LONG);
    Ok(())
}

/// `fnsave`: the environment and the registers from ST(0) on; then as `fninit`.
pub(crate) fn save<const IS_LONG: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    available(cpu)?;
    let from = length(IS_LONG);
    let mut bytes = [0; LONG + 8 * REGISTER];
    bytes[..LONG].copy_from_slice(&environment(&cpu.regs.x87, IS_LONG));
    for (index, place) in (0..8).zip(bytes[from..].chunks_exact_mut(REGISTER)) {
        place.copy_from_slice(&cpu.regs.x87.st(index).to_le_bytes()[..REGISTER]);
    }
    cpu.store_bytes(bus, cpu.address(uop), &bytes[..from + 8 * REGISTER])?;
    initialise(cpu, bus, uop)
}

/// `frstor`.
pub(crate) fn restore<const IS_LONG: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    available(cpu)?;
    no_error(cpu)?;
    let from = length(IS_LONG);
    let mut bytes = [0; LONG + 8 * REGISTER];
    cpu.load_bytes(bus, cpu.address(uop), &mut bytes[..from + 8 * REGISTER])?;
    let x87 = &mut cpu.regs.x87;
    set_environment(x87, &bytes, IS_LONG);
    let full = x87.full;
    for (index, place) in (0..8).zip(bytes[from..].chunks_exact(REGISTER)) {
        x87.set_st(index, number(place));
    }
    x87.full = full;
    Ok(())
}

/// Bytes as a number, the lowest first.
fn number(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u128::from(byte))
}

/// The legacy area that FXSAVE writes (SDM volume 1, table 10-2), and XSAVE's header behind it.
mod area {
    /// Control, status, tags, opcode, pointers.
    pub const X87: core::ops::Range<usize> = 0..24;
    /// MXCSR, with MXCSR_MASK behind it.
    pub const MXCSR: usize = 24;
    /// ST(0) to ST(7), sixteen bytes each.
    pub const ST: usize = 32;
    /// xmm0 to xmm15.
    pub const XMM: usize = 160;
    /// The end of xmm15. What is behind it stays as it is.
    pub const END: usize = XMM + 16 * 16;
    /// Where XSAVE's header is.
    pub const HEADER: u64 = 512;
    pub const HEADER_BYTES: usize = 64;
}

/// The bytes of x87 from 0 and of MXCSR to the end of its registers, as FXSAVE has them.
fn legacy(cpu: &Cpu) -> [u8; area::END] {
    let (x87, mut bytes) = (&cpu.regs.x87, [0; area::END]);
    bytes[0..2].copy_from_slice(&x87.control.to_le_bytes());
    bytes[2..4].copy_from_slice(&x87.status.to_le_bytes());
    bytes[4] = x87.full;
    for index in 0..8_u8 {
        let at = area::ST + 16 * usize::from(index);
        bytes[at..][..REGISTER].copy_from_slice(&x87.st(index).to_le_bytes()[..REGISTER]);
    }
    bytes[area::MXCSR..][..4].copy_from_slice(&cpu.regs.mxcsr.to_le_bytes());
    bytes[area::MXCSR + 4..][..4].copy_from_slice(&Mxcsr::MASK.to_le_bytes());
    for (slot, register) in bytes[area::XMM..].chunks_exact_mut(16).zip(cpu.regs.xmm) {
        slot.copy_from_slice(&register.to_le_bytes());
    }
    bytes
}

/// How many of the area's bytes are state: 32-bit code has eight vector registers.
fn state_end(cpu: &Cpu) -> usize {
    if cpu.form.is_narrow() { area::XMM + 8 * 16 } else { area::END }
}

fn set_x87(cpu: &mut Cpu, bytes: &[u8; area::END]) {
    let x87 = &mut cpu.regs.x87;
    x87.set_control(u16::from_le_bytes([bytes[0], bytes[1]]));
    x87.set_status(u16::from_le_bytes([bytes[2], bytes[3]]));
    for index in 0..8_u8 {
        x87.set_st(index, number(&bytes[area::ST + 16 * usize::from(index)..][..REGISTER]));
    }
    x87.full = bytes[4];
}

fn set_xmm(cpu: &mut Cpu, bytes: &[u8; area::END]) {
    let end = state_end(cpu);
    for (slot, register) in bytes[area::XMM..end].chunks_exact(16).zip(&mut cpu.regs.xmm) {
        *register = number(slot);
    }
}

/// The MXCSR of a saved state, or #GP for a bit that does not exist.
fn saved_mxcsr(cpu: &mut Cpu, bytes: &[u8; area::END]) -> Result<Mxcsr, Left> {
    let bits = number(&bytes[area::MXCSR..][..4]) as u32;
    Mxcsr::from_bits(bits).ok_or_else(|| cpu.raise(vector::PROTECTION, Some(0)))
}

/// `fxsave`: 512 bytes, of which the last 96 stay as they are. Without CR4.OSFXSR a processor may leave
/// SSE's registers out (SDM volume 2, FXSAVE: "implementation dependent"); this one does not, nor does
/// its `fxrstor`.
pub(crate) fn fxsave(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    available(cpu)?;
    let va = cpu.address(uop);
    cpu.aligned_16(va)?;
    // Of what stays, too, the processor wants to be able to write it.
    cpu.may_store::<u64>(bus, va.wrapping_add(area::HEADER - 8))?;
    let bytes = legacy(cpu);
    cpu.store_bytes(bus, va, &bytes[..state_end(cpu)])
}

/// `fxrstor`.
pub(crate) fn fxrstor(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    available(cpu)?;
    let va = cpu.address(uop);
    cpu.aligned_16(va)?;
    let mut bytes = [0; area::END];
    cpu.load_bytes(bus, va, &mut bytes)?;
    let mxcsr = saved_mxcsr(cpu, &bytes)?;
    cpu.regs.mxcsr = mxcsr.bits();
    set_x87(cpu, &bytes);
    set_xmm(cpu, &bytes);
    Ok(())
}

/// Parts of the state, as XCR0 numbers them.
const PART_X87: u64 = 1;
const PART_SSE: u64 = 2;

/// #UD without the guest's consent, #NM with TS; else the parts that rdx:rax asks for, and where.
fn requested(cpu: &mut Cpu, uop: &Uop) -> Result<(u64, u64), Left> {
    if cpu.regs.cr4 & control::OSXSAVE == 0 {
        return Err(cpu.raise(vector::INVALID_OPCODE, None));
    }
    if cpu.regs.cr0 & control::TS != 0 {
        reachable(cpu)?;
    }
    let va = cpu.address(uop);
    if va & 63 != 0 {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    let gpr = &cpu.regs.gpr;
    let wanted = gpr[Reg::Rdx] << 32 | gpr[Reg::Rax] & 0xffff_ffff;
    Ok((wanted & cpu.regs.xcr0, va))
}

/// `xsave`: the parts asked for; all of them count as in use.
pub(crate) fn xsave(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let (parts, va) = requested(cpu, uop)?;
    let mut header = [0; 8];
    let mut area = [0; area::END];
    // All of it can be read and written, or nothing happens.
    cpu.may_store::<u64>(bus, va)?;
    cpu.may_store::<u64>(bus, va.wrapping_add(area::HEADER + 56))?;
    cpu.load_bytes(bus, va.wrapping_add(area::HEADER), &mut header)?;
    cpu.load_bytes(bus, va, &mut area)?;
    let now = legacy(cpu);
    if parts & PART_X87 != 0 {
        for range in [area::X87, area::ST..area::XMM] {
            area[range.clone()].copy_from_slice(&now[range]);
        }
    }
    if parts & PART_SSE != 0 {
        for range in [area::MXCSR..area::ST, area::XMM..state_end(cpu)] {
            area[range.clone()].copy_from_slice(&now[range]);
        }
    }
    let in_use = u64::from_le_bytes(header) & !parts | parts;
    cpu.store_bytes(bus, va, &area)?;
    cpu.store_bytes(bus, va.wrapping_add(area::HEADER), &in_use.to_le_bytes())
}

/// `xrstor`: the parts asked for, those not in use to their initial state.
pub(crate) fn xrstor(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let (parts, va) = requested(cpu, uop)?;
    let mut header = [0; area::HEADER_BYTES];
    let mut bytes = [0; area::END];
    cpu.load_bytes(bus, va.wrapping_add(area::HEADER), &mut header)?;
    cpu.load_bytes(bus, va, &mut bytes)?;
    let in_use = number(&header[..8]) as u64;
    // The compacted format is not offered: its word and all behind it must be zero.
    if in_use & !cpu.regs.xcr0 != 0 || header[8..24].iter().any(|&byte| byte != 0) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    if parts & PART_SSE != 0 {
        let mxcsr = saved_mxcsr(cpu, &bytes)?;
        cpu.regs.mxcsr = mxcsr.bits();
    }
    match (parts & PART_X87 != 0, in_use & PART_X87 != 0) {
        (true, true) => set_x87(cpu, &bytes),
        (true, false) => cpu.regs.x87 = X87::default(),
        (false, _) => {}
    }
    match (parts & PART_SSE != 0, in_use & PART_SSE != 0) {
        (true, true) => set_xmm(cpu, &bytes),
        (true, false) => set_xmm(cpu, &[0; area::END]),
        (false, _) => {}
    }
    Ok(())
}

/// The extended control registers exist with CR4.OSXSAVE, and only number 0 does.
fn xcr_exists(cpu: &mut Cpu) -> Result<(), Left> {
    if cpu.regs.cr4 & control::OSXSAVE == 0 {
        return Err(cpu.raise(vector::INVALID_OPCODE, None));
    }
    if cpu.regs.gpr[Reg::Rcx] as u32 != 0 {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    Ok(())
}

/// `xgetbv`.
pub(crate) fn read_xcr(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    xcr_exists(cpu)?;
    cpu.regs.gpr[Reg::Rax] = cpu.regs.xcr0 & 0xffff_ffff;
    cpu.regs.gpr[Reg::Rdx] = cpu.regs.xcr0 >> 32;
    Ok(())
}

/// `xsetbv`: x87 must stay, and no part may be enabled that is not offered.
pub(crate) fn write_xcr(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    xcr_exists(cpu)?;
    let gpr = &cpu.regs.gpr;
    let value = gpr[Reg::Rdx] << 32 | gpr[Reg::Rax] & 0xffff_ffff;
    if cpu.cpl != 0 || value & PART_X87 == 0 || value & !(PART_X87 | PART_SSE) != 0 {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.regs.xcr0 = value;
    Ok(())
}
