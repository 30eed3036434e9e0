//! Which handlers x87 has, and the instructions on its state: the table of forms.

use super::Lowered;
use super::operand::set_memory;
use crate::exec::x87::*;
use crate::exec::x87_functions::*;
use crate::exec::x87_memory::*;
use crate::exec::{mmx, x87_state as state};
use crate::uop::Meaning;
use iced_x86::{Code, Instruction, OpKind};

pub(super) fn lower(i: &Instruction) -> Option<Lowered> {
    let meaning = constants(i.code())
        .or_else(|| memory(i.code()))
        .or_else(|| registers(i.code()))
        .or_else(|| control(i.code()))?;
    let mut lowered = Lowered::plain(i, meaning);
    for number in 0..i.op_count() {
        let register = i.op_register(number);
        if i.op_kind(number) == OpKind::Memory {
            set_memory(&mut lowered.uop, i)?;
        } else if register.is_st() && number == 0 {
            lowered.uop.dst = register.number() as u8;
            // A form with one register reads or frees it.
            lowered.uop.src = lowered.uop.dst;
        } else if register.is_st() {
            lowered.uop.src = register.number() as u8;
        }
    }
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

/// Defines a function from form to meaning.
macro_rules! table {
    ($name:ident: $($($code:ident)|+ => $meaning:expr;)*) => {
        fn $name(code: Code) -> Option<Meaning> {
            Some(match code {
                $($(Code::$code)|+ => $meaning as Meaning,)*
                _ => return None,
            })
        }
    };
}

table! { constants:
    Fldz => load_constant::<{ constant::ZERO }>;
    Fld1 => load_constant::<{ constant::ONE }>;
    Fldl2t => load_constant::<{ constant::LOG2_10 }>;
    Fldl2e => load_constant::<{ constant::LOG2_E }>;
    Fldpi => load_constant::<{ constant::PI }>;
    Fldlg2 => load_constant::<{ constant::LOG10_2 }>;
    Fldln2 => load_constant::<{ constant::LN_2 }>;
}

table! { memory:
    Fld_m32fp => load::<Single>;
    Fld_m64fp => load::<Double>;
    Fld_m80fp => load_extended;
    Fild_m16int => load::<Int16>;
    Fild_m32int => load::<Int32>;
    Fild_m64int => load::<Int64>;
    Fbld_m80bcd => load_decimal;
    Fst_m32fp => store::<Single, 0>;
    Fst_m64fp => store::<Double, 0>;
    Fstp_m32fp => store::<Single, 1>;
    Fstp_m64fp => store::<Double, 1>;
    Fstp_m80fp => store_extended;
    Fist_m16int => store::<Int16, 0>;
    Fist_m32int => store::<Int32, 0>;
    Fistp_m16int => store::<Int16, 1>;
    Fistp_m32int => store::<Int32, 1>;
    Fistp_m64int => store::<Int64, 1>;
    Fisttp_m16int => store_truncated::<Int16>;
    Fisttp_m32int => store_truncated::<Int32>;
    Fisttp_m64int => store_truncated::<Int64>;
    Fbstp_m80bcd => store_decimal;
    Fadd_m32fp => on_memory::<Add, Single>;
    Fadd_m64fp => on_memory::<Add, Double>;
    Fiadd_m16int => on_memory::<Add, Int16>;
    Fiadd_m32int => on_memory::<Add, Int32>;
    Fmul_m32fp => on_memory::<Multiply, Single>;
    Fmul_m64fp => on_memory::<Multiply, Double>;
    Fimul_m16int => on_memory::<Multiply, Int16>;
    Fimul_m32int => on_memory::<Multiply, Int32>;
    Fsub_m32fp => on_memory::<Subtract, Single>;
    Fsub_m64fp => on_memory::<Subtract, Double>;
    Fisub_m16int => on_memory::<Subtract, Int16>;
    Fisub_m32int => on_memory::<Subtract, Int32>;
    Fsubr_m32fp => on_memory::<SubtractFrom, Single>;
    Fsubr_m64fp => on_memory::<SubtractFrom, Double>;
    Fisubr_m16int => on_memory::<SubtractFrom, Int16>;
    Fisubr_m32int => on_memory::<SubtractFrom, Int32>;
    Fdiv_m32fp => on_memory::<Divide, Single>;
    Fdiv_m64fp => on_memory::<Divide, Double>;
    Fidiv_m16int => on_memory::<Divide, Int16>;
    Fidiv_m32int => on_memory::<Divide, Int32>;
    Fdivr_m32fp => on_memory::<DivideInto, Single>;
    Fdivr_m64fp => on_memory::<DivideInto, Double>;
    Fidivr_m16int => on_memory::<DivideInto, Int16>;
    Fidivr_m32int => on_memory::<DivideInto, Int32>;
    Fcom_m32fp => compare_memory::<Single, 0>;
    Fcom_m64fp => compare_memory::<Double, 0>;
    Fcomp_m32fp => compare_memory::<Single, 1>;
    Fcomp_m64fp => compare_memory::<Double, 1>;
    Ficom_m16int => compare_memory::<Int16, 0>;
    Ficom_m32int => compare_memory::<Int32, 0>;
    Ficomp_m16int => compare_memory::<Int16, 1>;
    Ficomp_m32int => compare_memory::<Int32, 1>;
}

table! { registers:
    Fld_sti => load_register;
    Fst_sti => store_register::<0>;
    Fstp_sti | Fstp_sti_DFD0 | Fstp_sti_DFD8 => store_register::<1>;
    Fxch_st0_sti | Fxch_st0_sti_DDC8 | Fxch_st0_sti_DFC8 => exchange;
    Ffree_sti => free::<0>;
    Ffreep_sti => free::<1>;
    Fadd_st0_sti | Fadd_sti_st0 => on_registers::<Add, 0>;
    Fmul_st0_sti | Fmul_sti_st0 => on_registers::<Multiply, 0>;
    Fsub_st0_sti | Fsub_sti_st0 => on_registers::<Subtract, 0>;
    Fsubr_st0_sti | Fsubr_sti_st0 => on_registers::<SubtractFrom, 0>;
    Fdiv_st0_sti | Fdiv_sti_st0 => on_registers::<Divide, 0>;
    Fdivr_st0_sti | Fdivr_sti_st0 => on_registers::<DivideInto, 0>;
    Faddp_sti_st0 => on_registers::<Add, 1>;
    Fmulp_sti_st0 => on_registers::<Multiply, 1>;
    Fsubp_sti_st0 => on_registers::<Subtract, 1>;
    Fsubrp_sti_st0 => on_registers::<SubtractFrom, 1>;
    Fdivp_sti_st0 => on_registers::<Divide, 1>;
    Fdivrp_sti_st0 => on_registers::<DivideInto, 1>;
    Fcom_st0_sti | Fcom_st0_sti_DCD0 => compare_register::<false, 0>;
    Fcomp_st0_sti | Fcomp_st0_sti_DCD8 | Fcomp_st0_sti_DED0 => compare_register::<false, 1>;
    Fucom_st0_sti => compare_register::<true, 0>;
    Fucomp_st0_sti => compare_register::<true, 1>;
    Fcomi_st0_sti => compare_into_flags::<false, 0>;
    Fcomip_st0_sti => compare_into_flags::<false, 1>;
    Fucomi_st0_sti => compare_into_flags::<true, 0>;
    Fucomip_st0_sti => compare_into_flags::<true, 1>;
    Fcmovb_st0_sti => move_if::<2>;
    Fcmovnb_st0_sti => move_if::<3>;
    Fcmove_st0_sti => move_if::<4>;
    Fcmovne_st0_sti => move_if::<5>;
    Fcmovbe_st0_sti => move_if::<6>;
    Fcmovnbe_st0_sti => move_if::<7>;
    Fcmovu_st0_sti => move_if::<10>;
    Fcmovnu_st0_sti => move_if::<11>;
    Fcompp => compare_next::<false>;
    Fucompp => compare_next::<true>;
    Ftst => compare_zero;
    Fxam => examine;
    Fchs => change_sign;
    Fabs => magnitude;
    Fsqrt => square_root;
    Frndint => round_to_whole;
    Fscale => scale;
    Fxtract => extract;
    Fprem => remainder::<false>;
    Fprem1 => remainder::<true>;
    Fsin => fsin;
    Fcos => fcos;
    Fsincos => fsincos;
    Fptan => fptan;
    Fpatan => fpatan;
    F2xm1 => f2xm1;
    Fyl2x => fyl2x;
    Fyl2xp1 => fyl2xp1;
    Fincstp => turn_stack::<1>;
    Fdecstp => turn_stack::<7>;
    Fnop => nothing_but_wait;
    Wait => wait;
}

table! { control:
    Fninit => state::initialise;
    Fnclex => state::clear_exceptions;
    Fneni | Fndisi | Fnsetpm => state::obsolete;
    Fldcw_m2byte => state::load_control;
    Fnstcw_m2byte => state::store_control;
    Fnstsw_m2byte => state::store_status;
    Fnstsw_AX => state::status_to_ax;
    Fldenv_m14byte => state::load_environment::<false>;
    Fldenv_m28byte => state::load_environment::<true>;
    Fnstenv_m14byte => state::store_environment::<false>;
    Fnstenv_m28byte => state::store_environment::<true>;
    Frstor_m94byte => state::restore::<false>;
    Frstor_m108byte => state::restore::<true>;
    Fnsave_m94byte => state::save::<false>;
    Fnsave_m108byte => state::save::<true>;
    Fxsave_m512byte | Fxsave64_m512byte => state::fxsave;
    Fxrstor_m512byte | Fxrstor64_m512byte => state::fxrstor;
    Xsave_mem | Xsave64_mem => state::xsave;
    Xrstor_mem | Xrstor64_mem => state::xrstor;
    Xgetbv => state::read_xcr;
    Xsetbv => state::write_xcr;
    Emms => mmx::leave;
}
