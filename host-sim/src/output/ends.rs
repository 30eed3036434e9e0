//! How a run ended, where the word for it does not say all: which exception, and what is not built.

use crate::escape;
use crate::event::Ended;

/// Exceptions by vector: name and mnemonic (SDM volume 3, table 6-1).
const EXCEPTIONS: [(u8, &str, &str); 21] = [
    (0, "divide error", "#DE"),
    (1, "debug exception", "#DB"),
    (2, "non-maskable interrupt", "NMI"),
    (3, "breakpoint", "#BP"),
    (4, "overflow", "#OF"),
    (5, "BOUND range exceeded", "#BR"),
    (6, "invalid opcode", "#UD"),
    (7, "no math coprocessor", "#NM"),
    (8, "double fault", "#DF"),
    (10, "invalid TSS", "#TS"),
    (11, "segment not present", "#NP"),
    (12, "stack-segment fault", "#SS"),
    (13, "general protection", "#GP"),
    (14, "page fault", "#PF"),
    (16, "x87 floating-point error", "#MF"),
    (17, "alignment check", "#AC"),
    (18, "machine check", "#MC"),
    (19, "SIMD floating-point exception", "#XM"),
    (20, "virtualization exception", "#VE"),
    (21, "control protection exception", "#CP"),
    (30, "security exception", "#SX"),
];

/// How an access that neither RAM nor a device answers ends.
const MACHINE_CHECK: u8 = 18;

/// The one whose error code says what was accessed.
const PAGE_FAULT: u8 = 14;

/// What the error code says (SDM volume 3, 4.7 of page faults, 6.13 of the others); nothing if there
/// is none, or it is 0 of an exception where that tells nothing.
fn detail(vector: u8, error: Option<u32>) -> String {
    match error {
        Some(error) if vector == PAGE_FAULT => {
            let is = |bit: u32| error >> bit & 1 != 0;
            let access = if is(4) {
                "a fetch from"
            } else if is(1) {
                "a write to"
            } else {
                "a read of"
            };
            let page = if is(3) {
                "a page whose entry has a reserved bit set"
            } else if is(0) {
                "a page whose entry forbids it"
            } else {
                "a page that is not present"
            };
            let ring = if is(2) { "user mode" } else { "supervisor mode" };
            format!(", {access} {page}, in {ring} (error code {error:#x})")
        }
        Some(error) if error != 0 => format!(", error code {error:#x}"),
        Some(_) | None => String::new(),
    }
}

/// The sentence, escaped; `None` where the word says all.
pub fn sentence(ended: &Ended) -> Option<String> {
    let sentence = match ended {
        Ended::Fault { vector, rip, error, address } => {
            let known = EXCEPTIONS.iter().find(|(known, ..)| known == vector);
            let name = known.map_or_else(
                || format!("interrupt {vector}"),
                |(_, name, mnemonic)| format!("{name} ({mnemonic})"),
            );
            let about = address.map_or_else(String::new, |at| format!(", about address {at:#x}"));
            let about = about + &detail(*vector, *error);
            match *vector {
                MACHINE_CHECK => format!("nobody answers there: {name} at {rip:#x}{about}"),
                _ => format!("the guest does not handle this: {name} at {rip:#x}{about}"),
            }
        }
        Ended::Unsupported { rip, what, .. } => {
            format!("this simulator does not do what the guest wants at {rip:#x}: {what}")
        }
        Ended::Exit(_)
        | Ended::SvmTerminated(_)
        | Ended::QemuKilled
        | Ended::Budget(_)
        | Ended::Idle
        | Ended::Refault(_) => return None,
    };
    Some(escape::terminal_cut(&sentence, 400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_has_its_name_and_the_address_that_it_is_about() {
        let fault = |vector, address| {
            sentence(&Ended::Fault { vector, rip: 0x10_0006, error: None, address })
        };
        let told = fault(6, None).expect("a sentence");
        assert!(told.ends_with("invalid opcode (#UD) at 0x100006"), "{told}");
        let told = fault(14, Some(0x123)).expect("a sentence");
        assert!(told.ends_with("page fault (#PF) at 0x100006, about address 0x123"), "{told}");
        let told = fault(18, Some(0xd800_0000)).expect("a sentence");
        assert!(told.starts_with("nobody answers there: machine check (#MC)"), "{told}");
        assert!(fault(200, None).expect("a sentence").contains("interrupt 200 at"));
        assert!(EXCEPTIONS.is_sorted_by_key(|(vector, ..)| *vector));
    }

    #[test]
    fn an_error_code_is_told_in_words_where_its_bits_have_some() {
        let told = |vector, error| detail(vector, Some(error));
        let accesses = [
            (0, "a read of a page that is not present, in supervisor mode"),
            (2, "a write to a page that is not present, in supervisor mode"),
            (3, "a write to a page whose entry forbids it, in supervisor mode"),
            (5, "a read of a page whose entry forbids it, in user mode"),
            (9, "a read of a page whose entry has a reserved bit set, in supervisor mode"),
            (0x11, "a fetch from a page whose entry forbids it, in supervisor mode"),
        ];
        for (error, words) in accesses {
            assert_eq!(told(PAGE_FAULT, error), format!(", {words} (error code {error:#x})"));
        }
        assert_eq!(told(13, 0x18), ", error code 0x18");
        assert_eq!(told(13, 0), "");
        assert_eq!(detail(6, None), "");
    }

    #[test]
    fn what_is_not_built_is_named_without_a_command_for_the_terminal() {
        let what = "an ACPI sleep\u{1b}[2J".to_owned();
        let told = sentence(&Ended::Unsupported { rip: 5, bytes: vec![], what });
        let told = told.expect("a sentence");
        assert!(told.contains("at 0x5: an ACPI sleep") && !told.contains('\u{1b}'), "{told}");
        assert_eq!(sentence(&Ended::Exit(0)), None);
    }
}
