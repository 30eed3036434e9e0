//! Moves between xmm registers, memory and general-purpose registers: what compilers use for
//! copies. (SSE arithmetic is a family of its own.)

use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::uop::{Exec, Left, Uop};

#[inline(always)]
fn xmm(cpu: &Cpu, number: u8) -> u128 {
    cpu.regs.xmm[usize::from(number & 15)]
}

#[inline(always)]
fn set_xmm(cpu: &mut Cpu, number: u8, value: u128) {
    cpu.regs.xmm[usize::from(number & 15)] = value;
}

/// 16 bytes from memory.
pub(crate) struct Load<const ALIGNED: bool>;

impl<const ALIGNED: bool> Exec for Load<ALIGNED> {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let va = cpu.address(uop);
        if ALIGNED {
            cpu.aligned_16(va)?;
        }
        let value = cpu.load_128(bus, va)?;
        set_xmm(cpu, uop.dst, value);
        Ok(())
    }
}

/// 16 bytes to memory.
pub(crate) struct Store<const ALIGNED: bool>;

impl<const ALIGNED: bool> Exec for Store<ALIGNED> {
    const STORES: bool = true;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let va = cpu.address(uop);
        if ALIGNED {
            cpu.aligned_16(va)?;
        }
        let value = xmm(cpu, uop.src);
        cpu.store_128(bus, va, value)
    }
}

/// One xmm register to another.
pub(crate) struct Copy;

impl Exec for Copy {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let value = xmm(cpu, uop.src);
        set_xmm(cpu, uop.dst, value);
        Ok(())
    }
}
