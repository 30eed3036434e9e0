//! The forms that there are, and what becomes of each here.

use iced_x86::{Code, CpuidFeature, DecoderOptions, EncodingKind};

/// What the test does with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Run on both sides.
    Compared,
    /// Implemented, but not to be run on the test's own processor: why.
    NotNatively(&'static str),
    /// It ends as `unsupported`.
    Unsupported,
}

/// Every form that 64-bit mode or 32-bit code knows.
pub fn all() -> impl Iterator<Item = Code> {
    Code::values().filter(|&code| {
        let op = code.op_code();
        // What begins with `wait` is two instructions to a processor.
        let whole = op.is_instruction() && !op.fwait();
        whole && (exists(code, false) || exists(code, true))
    })
}

/// Whether the form is one of 64-bit mode, or of 32-bit code.
pub fn exists(code: Code, narrow: bool) -> bool {
    let op = code.op_code();
    // Old and strange processors' own forms are decoded only for who asks.
    let usual =
        matches!(op.decoder_option(), DecoderOptions::NONE | DecoderOptions::FORCE_RESERVED_NOP);
    if narrow {
        op.mode32() && (usual || op.mode64()) && code != Code::Popw_CS
    } else {
        op.mode64()
    }
}

/// Whether the form may be implemented at all: AVX and its kin are not offered, but for the
/// general-purpose instructions that borrow their encoding.
pub fn in_scope(code: Code) -> bool {
    let bits = [CpuidFeature::BMI1, CpuidFeature::BMI2];
    let of_bits = code.cpuid_features().iter().any(|feature| bits.contains(feature));
    code.encoding() == EncodingKind::Legacy || of_bits
}

/// Why a form that the engine has cannot be compared, if so. 32-bit code's pushes of segment registers
/// can: both sides have the same selectors.
pub fn why_not(code: Code, narrow: bool) -> Option<&'static str> {
    let name = format!("{code:?}");
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["Rdtsc", "Cpuid", "Rdrand", "Rdseed"]) {
        Some("its answer is the machine's own")
    } else if starts(&["Sgdt", "Sidt", "Sldt", "Str_", "Lar_", "Lsl_", "Verr", "Verw", "Smsw"])
        || !narrow
            && ["Sreg", "Pushq_FS", "Pushq_GS", "Pushw_FS", "Pushw_GS"]
                .iter()
                .any(|part| name.contains(part))
    {
        Some("its answer is the host system's")
    } else if starts(&["Popq_FS", "Popq_GS", "Lss_", "Lfs_", "Lgs_", "Lds_", "Les_", "Mov_Sreg"])
        || starts(&["Jmp_m16", "Call_m16", "Jmp_ptr", "Call_ptr", "Retf", "Iret"])
        || ["Popw", "Popd"].iter().any(|pop| {
            ["_ES", "_SS", "_DS", "_FS", "_GS"].iter().any(|seg| name == format!("{pop}{seg}"))
        })
    {
        Some("it would load the host system's descriptors")
    } else if starts(&["Int_", "Int1", "Syscall", "Sysenter"]) {
        Some("it goes to the host system's handlers")
    } else if starts(&["Rdfsbase", "Rdgsbase", "Wrfsbase", "Wrgsbase"]) {
        Some("it would read or change the host system's bases")
    } else if starts(&[
        "Reservednop_rm16_r16_0F0D",
        "Reservednop_rm32_r32_0F0D",
        "Reservednop_rm64_r64_0F0D",
    ]) {
        Some("with a register, processors without PREFETCHW differ")
    } else if starts(&["Xgetbv"]) {
        Some("its answer is the host system's")
    } else if starts(&["Pause", "Vmmcall", "Vmcall"]) {
        Some("it leaves the engine")
    } else {
        None
    }
}

/// The fate of a form, given whether the engine has it.
pub fn fate(code: Code, narrow: bool, supported: bool) -> Fate {
    match (supported, why_not(code, narrow)) {
        (false, _) => Fate::Unsupported,
        (true, Some(why)) => Fate::NotNatively(why),
        (true, None) => Fate::Compared,
    }
}

/// The features that a form belongs to, as one word.
pub fn feature(code: Code) -> String {
    let names: Vec<String> =
        code.cpuid_features().iter().map(|feature| format!("{feature:?}")).collect();
    names.join(" and ")
}

/// What this host lacks of what the form needs.
pub fn lacking(code: Code) -> Option<&'static str> {
    code.cpuid_features().iter().find_map(|&feature| lacks(feature))
}

/// The feature's name if this host lacks it.
fn lacks(feature: CpuidFeature) -> Option<&'static str> {
    macro_rules! look {
        ($($id:ident: $name:tt;)*) => {
            match feature {
                $(CpuidFeature::$id => (!is_x86_feature_detected!($name)).then_some($name),)*
                _ => None,
            }
        };
    }
    look! {
        ADX: "adx";
        AES: "aes";
        BMI1: "bmi1";
        BMI2: "bmi2";
        CMPXCHG16B: "cmpxchg16b";
        LZCNT: "lzcnt";
        MOVBE: "movbe";
        PCLMULQDQ: "pclmulqdq";
        POPCNT: "popcnt";
        SSE3: "sse3";
        SSSE3: "ssse3";
        SSE4_1: "sse4.1";
        SSE4_2: "sse4.2";
        XSAVE: "xsave";
        XSAVEOPT: "xsaveopt";
        XSAVEC: "xsavec";
    }
}
