//! SSE and SSE2 moves and stores.
#![expect(non_camel_case_types, reason = "handlers are named as their instructions")]

use super::mxcsr::Mxcsr;
use super::sse::{Source, handlers, usable, xmm};
use super::sse_int;
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::uop::{Exec, Left, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// #GP.
const PROTECTION: u8 = 13;

/// The low `bits` bits.
const fn low(bits: u32) -> u128 {
    u128::MAX >> (128 - bits)
}

handlers! {
    /// To a whole vector register, clearing what the source has not.
    |cpu, uop, b| [load = core::convert::identity]
    value => {
        *xmm(cpu, uop.dst) = value(b);
        Ok(())
    }
}

handlers! {
    /// The low 32 bits to a vector register, clearing the others (`movd`).
    |cpu, uop, b| [load_32 = low]
    mask => {
        *xmm(cpu, uop.dst) = b & mask(32);
        Ok(())
    }
}

handlers! {
    /// The low 64 bits to a vector register, clearing the others (`movq`).
    |cpu, uop, b| [load_64 = low]
    mask => {
        *xmm(cpu, uop.dst) = b & mask(64);
        Ok(())
    }
}

handlers! {
    /// The lowest single, keeping the others (`movss` between registers).
    |cpu, uop, b| [merge_32 = low]
    mask => {
        let a = xmm(cpu, uop.dst);
        *a = (*a & !mask(32)) | (b & mask(32));
        Ok(())
    }
}

handlers! {
    /// The low half, keeping the high one (`movsd` between registers, `movlps`, `movlpd`).
    |cpu, uop, b| [merge_64 = low]
    mask => {
        let a = xmm(cpu, uop.dst);
        *a = (*a & !mask(64)) | (b & mask(64));
        Ok(())
    }
}

handlers! {
    /// The source's low half to the high one (`movhps`, `movhpd`, `movlhps`).
    |cpu, uop, b| [to_high = low]
    mask => {
        let a = xmm(cpu, uop.dst);
        *a = (*a & mask(64)) | (b << 64);
        Ok(())
    }
}

handlers! {
    /// The source's high half to the low one (`movhlps`).
    |cpu, uop, b| [from_high = low]
    mask => {
        let a = xmm(cpu, uop.dst);
        *a = (*a & !mask(64)) | (b >> 64);
        Ok(())
    }
}

handlers! {
    /// The low 32 bits to a general-purpose register, zero-extended (`movd`).
    |cpu, uop, b| [to_gpr_32 = low]
    mask => {
        *cpu.regs.gpr.slot_mut(uop.dst) = (b & mask(32)) as u64;
        Ok(())
    }
}

handlers! {
    /// The low 64 bits to a general-purpose register (`movq`).
    |cpu, uop, b| [to_gpr_64 = low]
    mask => {
        *cpu.regs.gpr.slot_mut(uop.dst) = (b & mask(64)) as u64;
        Ok(())
    }
}

handlers! {
    /// MXCSR from memory; a reserved bit is #GP.
    |cpu, _uop, b| [ldmxcsr = Mxcsr::from_bits]
    checked => match checked(b as u32) {
        Some(mxcsr) => {
            cpu.regs.mxcsr = mxcsr.bits();
            Ok(())
        }
        None => Err(cpu.raise(PROTECTION, Some(0))),
    }
}

/// `movnti`: a general-purpose register to memory. Part of SSE2 that needs none of its state.
pub(crate) struct movnti<T>(PhantomData<T>);

impl<T: Width> Exec for movnti<T> {
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let va = cpu.address(uop);
        cpu.store::<T>(bus, va, cpu.regs.gpr.slot(uop.src))
    }
}

/// Defines handlers that store: how, given the CPU and the address, once `$gate` has let them.
macro_rules! stores {
    ($gate:ident:
        $($(#[$doc:meta])* $name:ident:
            |$cpu:ident, $bus:ident, $uop:ident, $va:ident| $body:expr;)*) =>
    { $(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Exec for $name {
            fn exec($cpu: &mut Cpu, $bus: &mut dyn Bus, $uop: &Uop) -> Result<(), Left> {
                $gate($cpu)?;
                let $va = $cpu.address($uop);
                $body
            }
        }
    )* };
}

stores! { usable:
    /// A register to an aligned address.
    store_aligned: |cpu, bus, uop, va| {
        cpu.aligned_16(va)?;
        let value = *xmm(cpu, uop.src);
        cpu.store_128(bus, va, value)
    };
    /// A register to any address.
    store_unaligned: |cpu, bus, uop, va| {
        let value = *xmm(cpu, uop.src);
        cpu.store_128(bus, va, value)
    };
    /// A register's low half.
    store_low: |cpu, bus, uop, va| {
        let value = *xmm(cpu, uop.src) as u64;
        cpu.store::<u64>(bus, va, value)
    };
    /// A register's high half.
    store_high: |cpu, bus, uop, va| {
        let value = (*xmm(cpu, uop.src) >> 64) as u64;
        cpu.store::<u64>(bus, va, value)
    };
    /// A register's lowest 32 bits.
    store_lowest: |cpu, bus, uop, va| {
        let value = *xmm(cpu, uop.src) as u64;
        cpu.store::<u32>(bus, va, value)
    };
    /// MXCSR to memory.
    stmxcsr: |cpu, bus, _uop, va| cpu.store::<u32>(bus, va, cpu.regs.mxcsr.into());
    /// The bytes of `dst` that `src` selects, to DS:rDI.
    maskmovdqu: |cpu, bus, uop, va| {
        let (value, mask) = (*xmm(cpu, uop.dst), *xmm(cpu, uop.src));
        store_selected(cpu, bus, va, value, mask)
    };
}

/// Stores the bytes of `value` whose bytes of `mask` are negative. The others are not touched, and
/// where nothing is selected nothing faults.
pub(super) fn store_selected(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    va: u64,
    value: u128,
    mask: u128,
) -> Result<(), Left> {
    let (value, mask) = (value.to_le_bytes(), sse_int::pmovmskb(mask) as u16);
    if mask == 0 {
        return Ok(());
    }
    let (first, end) = (mask.trailing_zeros() as usize, 16 - mask.leading_zeros() as usize);
    let va = va.wrapping_add(first as u64);
    // Both ends may be written, or nothing is.
    cpu.may_store::<u8>(bus, va)?;
    cpu.may_store::<u8>(bus, va.wrapping_add((end - first - 1) as u64))?;
    let mut bytes = [0; 16];
    cpu.load_bytes(bus, va, &mut bytes[first..end])?;
    for i in first..end {
        if mask & (1 << i) != 0 {
            bytes[i] = value[i];
        }
    }
    cpu.store_bytes(bus, va, &bytes[first..end])
}
