//! Hostile guests: whatever a guest does, its run ends in a named way, within its budgets, twice
//! the same, and the simulator lives.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test names the ends that it accepts")]

use host_sim::cli::{self, Terminal, World};
use host_sim::event::{Budget, Ended, Event};
use host_sim::log::RunLog;
use host_sim::run;
use host_sim::scenario::select;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::fs;
use tempfile::TempDir;
use ultravisor_abi::{Gpa, OurCall, UStatus, Ucall};

type Assembled = Result<(), IcedError>;

/// Where the guests' code begins.
const CODE: u64 = 0x10_0000;
/// The first device's registers.
const DEVICE: u64 = 0xd000_0000;
/// A place in RAM where a guest builds what it likes.
const SCRATCH: u64 = 0x100_0000;

/// An ELF image of `code`, as small as they come.
fn image(code: &[u8]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2_u16, 62] {
        elf.extend(half.to_le_bytes()); // ET_EXEC, x86-64
    }
    elf.extend(1_u32.to_le_bytes());
    for word in [CODE, 64, 0] {
        elf.extend(word.to_le_bytes()); // entry, program headers, no sections
    }
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    for word in [1_u32, 5] {
        elf.extend(word.to_le_bytes()); // PT_LOAD, read and execute
    }
    let length = code.len() as u64;
    for word in [120, CODE, CODE, length, length, 1] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// Runs a guest twice in a machine as `body` says, and has both logs be the same.
fn run_in(body: &str, guest: impl FnOnce(&mut CodeAssembler) -> Assembled) -> RunLog {
    let mut code = CodeAssembler::new(64).expect("64 bits");
    guest(&mut code).expect("the guest assembles");
    let code = code.assemble(CODE).expect("the guest assembles");
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("g.elf"), image(&code)).expect("an image");
    let text = format!(
        "Scenario(format: 1, name: \"hostile\", about: \"A hostile guest.\", {body}, expect: [])"
    );
    fs::write(folder.path().join("a.ron"), text.replace("IMAGE", "image: File(\"g.elf\")"))
        .expect("a scenario");
    let selection = select::select(&[folder.path().join("a.ron")], 1)
        .unwrap_or_else(|faults| panic!("{faults:?}"));
    let plan = &selection.runs.first().expect("one run").plan;
    let log = run::run(plan).expect("it starts");
    let again = run::run(plan).expect("it starts");
    assert_eq!((log.hash, &log.ended), (again.hash, &again.ended), "twice the same");
    log
}

/// Runs the command on an endless guest that may go on for very long, with one second of time.
fn given_up(verb: &str) -> (u8, String, String) {
    let mut code = CodeAssembler::new(64).expect("64 bits");
    let mut again = code.create_label();
    code.set_label(&mut again).expect("free");
    code.jmp(again).expect("encodable");
    let folder = TempDir::new().expect("a temporary folder");
    let code = code.assemble(CODE).expect("the guest assembles");
    fs::write(folder.path().join("g.elf"), image(&code)).expect("an image");
    let text = "Scenario(format: 1, name: \"endless\", about: \"It never ends.\", \
                guest: (image: File(\"g.elf\"), budget: 10_000_000_000), \
                design: \"d5-platform-hook\", expect: [Outcome(id: \"stuck\", is: Stuck)])";
    let path = folder.path().join("a.ron");
    fs::write(&path, text).expect("a scenario");
    let words = ["uvsim", verb, path.to_str().expect("text"), "--wall-clock", "1"];
    let runner = |plan: &_, late: &_| run::run_until(plan, late).map_err(|why| why.to_string());
    let (mut out, mut err, terminal) = (Vec::new(), Vec::new(), Terminal::default());
    let world = World { runner: &runner, out: &mut out, err: &mut err, terminal };
    let code = cli::main(words.map(std::ffi::OsString::from), world);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (code, text(out), text(err))
}

#[test]
fn a_run_that_takes_too_long_has_no_verdict_whatever_was_expected() {
    for verb in ["run", "compare"] {
        let (code, out, err) = given_up(verb);
        assert_eq!(code, 5, "{out}{err}");
        assert!(err.contains("could not run endless: E405: "), "{err}");
        assert!(!out.contains("stuck"), "{out}");
    }
}

fn run_guest(guest: impl FnOnce(&mut CodeAssembler) -> Assembled) -> RunLog {
    run_in("guest: (IMAGE), devices: [Blk(id: \"disk\", sectors: 4096)]", guest)
}

fn call(a: &mut CodeAssembler, number: u64, args: &[u64]) -> Assembled {
    for (reg, value) in [rdi, rsi, rdx, r10, r8, r9].into_iter().zip(args) {
        a.mov(reg, *value)?;
    }
    a.mov(rax, number)?;
    a.vmcall()
}

fn exit(a: &mut CodeAssembler, code: u64) -> Assembled {
    call(a, OurCall::Exit.number(), &[code])
}

/// Makes the guest secure.
fn esm(a: &mut CodeAssembler) -> Assembled {
    call(a, Ucall::Esm.number(), &[CODE, 0x10000])
}

/// The next of a sequence of numbers into `reg`, by way of `r15` (Knuth's MMIX constants).
fn random(a: &mut CodeAssembler, reg: AsmRegister64) -> Assembled {
    a.mov(r14, 6_364_136_223_846_793_005_u64)?;
    a.imul_2(r15, r14)?;
    a.mov(r14, 1_442_695_040_888_963_407_u64)?;
    a.add(r15, r14)?;
    a.mov(reg, r15)?;
    a.shr(reg, 7)
}

#[test]
fn guests_that_go_nowhere_end_by_name() {
    let ended = |guest: &dyn Fn(&mut CodeAssembler) -> Assembled| {
        run_guest(|a: &mut CodeAssembler| guest(a)).ended.to_string()
    };
    let endless = |a: &mut CodeAssembler, one: &dyn Fn(&mut CodeAssembler) -> Assembled| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        one(a)?;
        a.jmp(again)
    };
    assert_eq!(ended(&|a| endless(a, &|_| Ok(()))), "budget(work-units)");
    assert_eq!(ended(&|a| endless(a, &|a| a.rdtsc())), "budget(work-units)");
    assert_eq!(ended(&|a| endless(a, &|a| a.pause())), "idle");
    assert_eq!(ended(&|a| endless(a, &|a| a.hlt())), "idle");
    assert!(ended(&|a| a.int3()).starts_with("fault(3, "));
    assert!(
        ended(&|a| {
            a.xor(ecx, ecx)?;
            a.div(ecx)
        })
        .starts_with("fault(0, ")
    );
    assert!(
        ended(&|a| {
            a.mov(rax, 0x1234_5678_0000_u64)?;
            a.mov(qword_ptr(rax), rax)
        })
        .starts_with("fault(14, ")
    );
    for odd in [
        (|a| a.in_(al, dx)) as fn(&mut CodeAssembler) -> Assembled,
        |a| a.out(dx, eax),
        |a| a.sysenter(),
        |a| a.retf(),
        |a| {
            a.mov(rax, 0xc800_0000_u64)?;
            a.jmp(rax)
        },
        |a| {
            a.mov(rbx, DEVICE)?;
            a.lock().cmpxchg(dword_ptr(rbx), ecx)
        },
        |a| {
            a.mov(rdi, DEVICE)?;
            a.mov(ecx, 16)?;
            a.rep().stosb()
        },
        |a| {
            a.mov(rbx, DEVICE + 0xf_0000)?;
            a.mov(eax, dword_ptr(rbx))
        },
    ] {
        let ended = ended(&|a| odd(a));
        assert!(ended.starts_with("unsupported(") || ended.starts_with("fault("), "{ended}");
    }
}

#[test]
fn guests_that_pull_the_ground_from_under_their_feet_end() {
    let tables = run_guest(|a| {
        a.mov(rbx, 0x1000_u64)?;
        a.xor(eax, eax)?;
        a.mov(ecx, 0x1000)?;
        a.mov(rdi, 0x1000_u64)?;
        a.rep().stosb()?;
        a.mov(rax, cr3)?;
        a.mov(cr3, rax)?;
        exit(a, 0)
    });
    assert!(matches!(tables.ended, Ended::Fault { .. }), "{}", tables.ended);
    // The store changes the instruction after it to HLT.
    let itself = run_guest(|a| {
        let mut next = a.create_label();
        a.lea(rbx, ptr(next))?;
        a.mov(byte_ptr(rbx), 0xf4)?;
        a.set_label(&mut next)?;
        a.nop()?;
        a.hlt()?;
        exit(a, 0)
    });
    assert_eq!(itself.ended, Ended::Idle);
    // The stack grows down over everything, the code included.
    let stack = run_guest(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.push(rax)?;
        a.jmp(again)
    });
    assert!(!matches!(stack.ended, Ended::Exit(_)), "{}", stack.ended);
}

#[test]
fn memory_beyond_what_may_be_backed_ends_the_run() {
    for (unit, secure) in [("4KiB", true), ("64KiB", false), ("64KiB", true), ("2MiB", false)] {
        let body = format!("machine: (memory: \"16TiB\", unit: \"{unit}\"), guest: (IMAGE)");
        let log = run_in(&body, |a| {
            if secure {
                esm(a)?;
            }
            let mut again = a.create_label();
            a.mov(rbx, SCRATCH)?;
            a.set_label(&mut again)?;
            a.mov(byte_ptr(rbx), 1)?;
            a.add(rbx, 0x1000)?;
            a.jmp(again)
        });
        assert_eq!(log.ended, Ended::Budget(Budget::Memory), "{unit} {secure}");
    }
}

#[test]
fn sharing_what_is_not_there_is_refused_and_sharing_too_much_ends_the_run() {
    let claims = [
        [0, 1 << 40],
        [u64::MAX, 1],
        [1, u64::MAX],
        [u64::MAX, u64::MAX],
        [0xc000, 1],
        [0, 0],
        [0, 1 << 16],
    ];
    let log = run_in("guest: (IMAGE)", |a| {
        esm(a)?;
        for claim in claims {
            call(a, Ucall::SharePage.number(), &claim)?;
            call(a, Ucall::UnsharePage.number(), &claim)?;
        }
        exit(a, 0)
    });
    assert_eq!(log.ended, Ended::Exit(0));
    let refused = |event: &Event| {
        matches!(
            event,
            Event::UvCall { call: Ucall::SharePage | Ucall::UnsharePage, status: UStatus::P2, .. }
        )
    };
    let count = log.records.iter().filter(|record| refused(&record.event)).count();
    assert_eq!(count, 2 * claims.len());
    for unit in ["4KiB", "64KiB"] {
        let body = format!("machine: (memory: \"16TiB\", unit: \"{unit}\"), guest: (IMAGE)");
        let log = run_in(&body, |a| {
            esm(a)?;
            call(a, Ucall::SharePage.number(), &[0x10_0000, 0xff_0000])?;
            exit(a, 0)
        });
        assert_eq!(log.ended, Ended::Budget(Budget::Memory), "{unit}");
    }
}

#[test]
fn sharing_and_taking_back_for_ever_uses_the_budget_up() {
    for which in [Ucall::SharePage, Ucall::UnshareAllPages] {
        let log = run_in("guest: (IMAGE)", |a| {
            esm(a)?;
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            call(a, which.number(), &[0x200, 0x200])?;
            a.jmp(again)
        });
        assert!(matches!(log.ended, Ended::Budget(_)), "{which:?}: {}", log.ended);
    }
}

#[test]
fn every_call_number_with_any_arguments_ends_by_name() {
    for platform in ["Plain", "Pef", "PefUnsealed"] {
        for secure in [false, true] {
            let body = format!("machine: (platform: {platform}), guest: (IMAGE)");
            let log = run_in(&body, |a| {
                if secure {
                    esm(a)?;
                    call(a, Ucall::Esm.number(), &[0, 0])?;
                    esm(a)?;
                }
                let (mut again, mut skip) = (a.create_label(), a.create_label());
                a.xor(ebx, ebx)?;
                a.set_label(&mut again)?;
                // H_CEDE waits for ever and exit ends.
                for number in [0xe0, OurCall::Exit.number() as i32] {
                    a.cmp(ebx, number)?;
                    a.je(skip)?;
                }
                for reg in [rdi, rsi, rdx, r10, r8, r9] {
                    random(a, reg)?;
                }
                a.mov(rax, rbx)?;
                a.vmcall()?;
                a.set_label(&mut skip)?;
                a.inc(ebx)?;
                a.cmp(ebx, 0x1_0000)?;
                a.jb(again)?;
                exit(a, 7)
            });
            assert_eq!(log.ended, Ended::Exit(7), "{platform} {secure}");
        }
    }
}

#[test]
fn secrets_without_end_are_refused() {
    let log = run_guest(|a| {
        call(a, OurCall::Secret.number(), &[CODE, 1 << 60])?;
        call(a, OurCall::Secret.number(), &[u64::MAX - 8, 16])?;
        call(a, OurCall::Secret.number(), &[CODE, 15])?;
        let mut again = a.create_label();
        a.mov(ebx, 90_000)?;
        a.set_label(&mut again)?;
        call(a, OurCall::Secret.number(), &[CODE, 16])?;
        a.dec(ebx)?;
        a.jnz(again)?;
        exit(a, 0)
    });
    assert_eq!(log.ended, Ended::Exit(0));
    let told = log.records.iter().filter(|record| matches!(record.event, Event::Secret { .. }));
    assert_eq!(told.count(), 256);
}

#[test]
fn as_many_reports_with_escapes_as_a_run_may_have_are_kept_and_are_plain_text() {
    let escape = u64::from_le_bytes(*b"\x1b]0;x\x07\xff\r");
    let log = run_guest(|a| {
        let mut again = a.create_label();
        a.mov(ebx, 99_999)?;
        a.set_label(&mut again)?;
        call(a, OurCall::Report.number(), &[0, escape, escape])?;
        a.dec(ebx)?;
        a.jnz(again)?;
        exit(a, 0)
    });
    assert_eq!(log.ended, Ended::Exit(0));
    let names = log.records.iter().filter_map(|record| {
        if let Event::Report { name, .. } = &record.event { Some(name) } else { None }
    });
    let plain = |name: &&String| name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert_eq!(names.filter(plain).count(), 99_999);
}

#[test]
fn every_register_at_every_width_answers() {
    let devices = "Blk(id: \"a\", sectors: 8), Net(id: \"b\"), Console(id: \"c\"), \
                   Entropy(id: \"d\"), Balloon(id: \"e\", qemu: (quirk: true))";
    for legacy in [false, true] {
        let body = format!("guest: (IMAGE), devices: [{devices}], matrix: [Legacy([{legacy}])]");
        let log = run_in(&body, |a| {
            for device in 0..5 {
                let first = DEVICE + device * 0x1000;
                let mut again = a.create_label();
                a.mov(rbx, first)?;
                a.set_label(&mut again)?;
                a.mov(al, byte_ptr(rbx))?;
                a.mov(ax, word_ptr(rbx))?;
                a.mov(eax, dword_ptr(rbx))?;
                a.mov(rax, qword_ptr(rbx))?;
                random(a, rax)?;
                a.mov(byte_ptr(rbx), al)?;
                a.mov(word_ptr(rbx), ax)?;
                a.mov(dword_ptr(rbx), eax)?;
                a.mov(qword_ptr(rbx), rax)?;
                a.inc(rbx)?;
                // The last eight bytes of a page: beyond, an access crosses into the next one.
                a.mov(rax, first + 0xff9)?;
                a.cmp(rbx, rax)?;
                a.jb(again)?;
            }
            exit(a, 0)
        });
        assert_eq!(log.ended, Ended::Exit(0), "{legacy}");
    }
}

/// Sets the device's queue 0 up with these addresses and kicks it.
fn kick(a: &mut CodeAssembler, rings: [u64; 3], size: i32) -> Assembled {
    a.mov(rbx, DEVICE)?;
    let store =
        |a: &mut CodeAssembler, offset: i32, value: i32| a.mov(dword_ptr(rbx + offset), value);
    store(a, 0x70, 0)?;
    for status in [1, 3] {
        store(a, 0x70, status)?;
    }
    store(a, 0x24, 1)?; // VERSION_1
    store(a, 0x20, 1)?;
    store(a, 0x70, 11)?;
    store(a, 0x30, 0)?;
    store(a, 0x38, size)?;
    for (offset, ring) in [0x80, 0x90, 0xa0].into_iter().zip(rings) {
        store(a, offset, ring as i32)?;
        store(a, offset + 4, (ring >> 32) as i32)?;
    }
    store(a, 0x44, 1)?;
    store(a, 0x70, 15)?;
    store(a, 0x50, 0)
}

/// Fills the scratch memory with random words, sets a queue up in and around `place`, and has the
/// device serve it; `secure`: after the switch to secure mode as well.
fn garbage_at(a: &mut CodeAssembler, place: u64, secure: bool) -> Assembled {
    let mut again = a.create_label();
    a.mov(rdi, SCRATCH)?;
    a.set_label(&mut again)?;
    random(a, rax)?;
    a.stosq()?;
    a.cmp(rdi, SCRATCH as i32 + 0x2_0000)?;
    a.jb(again)?;
    for switch in [false, secure] {
        if switch {
            esm(a)?;
        }
        for [avail, used] in [[SCRATCH + 0x8000, SCRATCH + 0x9000], [place, place]] {
            kick(a, [place, avail, used], 64)?;
            // Until the device has served the queue, or has refused to.
            for _ in 0..3 {
                a.pause()?;
            }
        }
    }
    call(a, Ucall::UnshareAllPages.number(), &[])?;
    exit(a, 3)
}

#[test]
fn rings_anywhere_and_full_of_anything_end_by_name() {
    let end = 64 << 20;
    let low = [0, 0x1000, 0x1_0000, 0x8_0000, CODE, SCRATCH, SCRATCH + 0xfff0, end - 16];
    let outside = [end, 0xc000_0000, DEVICE, 1 << 44, !15, 1 << 63];
    let mut broken = 0;
    for kind in [
        "Blk(id: \"x\", sectors: 4096)",
        "Blk(id: \"x\", sectors: 4096, qemu: (backend: Poll))",
        "Net(id: \"x\", peer: Echo)",
        "Entropy(id: \"x\")",
        "Balloon(id: \"x\")",
    ] {
        let body = format!("guest: (IMAGE), devices: [{kind}]");
        for secure in [false, true] {
            for place in low.into_iter().chain(outside) {
                let log = run_in(&body, |a| garbage_at(a, place, secure));
                // A device may well have written over the guest's code or page tables.
                let fine = match log.ended {
                    Ended::Exit(3) => true,
                    Ended::Fault { .. } | Ended::Refault(_) | Ended::Idle => low.contains(&place),
                    _ => false,
                };
                assert!(fine, "{kind} {secure} {place:#x}: {}", log.ended);
                let is_broken = |event: &Event| matches!(event, Event::Broken { .. });
                broken += log.records.iter().filter(|record| is_broken(&record.event)).count();
            }
        }
    }
    assert!(broken > 100, "{broken} times a ring made no sense");
}

#[test]
fn a_million_kicks_of_a_ring_that_makes_no_sense_end_by_the_log() {
    let log = run_guest(|a| {
        kick(a, [0xc000_0000, 1 << 40, 7], 64)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(dword_ptr(rbx + 0x50), 0)?;
        a.jmp(again)
    });
    assert!(matches!(log.ended, Ended::Budget(_)), "{}", log.ended);
}

/// The first device's TCE table.
const LIOBN: u64 = 0x1000_0000;
/// A guest whose disk sits behind the IOMMU.
const BEHIND: &str = "guest: (IMAGE), \
     devices: [Blk(id: \"disk\", sectors: 4096, qemu: (iommu_platform: true, backend: Vhost))]";

/// Repeats `one` for ever, with `r12` going through the pages of the window.
fn for_ever(
    a: &mut CodeAssembler,
    step: i32,
    one: impl FnOnce(&mut CodeAssembler) -> Assembled,
) -> Assembled {
    let mut again = a.create_label();
    a.xor(r12, r12)?;
    a.set_label(&mut again)?;
    one(a)?;
    a.add(r12, step)?;
    a.and(r12, (64 << 20) - 1)?;
    a.jmp(again)
}

#[test]
fn tces_put_without_end_use_a_budget_up() {
    let put = run_in(BEHIND, |a| {
        for_ever(a, 0x1000, |a| {
            a.mov(rdi, LIOBN)?;
            a.mov(rsi, r12)?;
            random(a, rdx)?;
            a.mov(rax, 0x20_u64)?;
            a.vmcall()
        })
    });
    let list = run_in(BEHIND, |a| {
        // 512 pages, each mapped to itself, at every place of the window.
        let mut fill = a.create_label();
        a.mov(rdi, SCRATCH)?;
        a.mov(rax, SCRATCH | 3)?;
        a.set_label(&mut fill)?;
        a.stosq()?;
        a.cmp(rdi, SCRATCH as i32 + 0x1000)?;
        a.jb(fill)?;
        for_ever(a, 0x1000, |a| {
            a.mov(rdi, LIOBN)?;
            a.mov(rsi, r12)?;
            a.mov(rdx, SCRATCH)?;
            a.mov(r10, 512_u64)?;
            a.mov(rax, 0x13c_u64)?;
            a.vmcall()
        })
    });
    let stuff =
        run_in(BEHIND, |a| for_ever(a, 0, |a| call(a, 0x138, &[LIOBN, 0, 0, (64 << 20) >> 12])));
    for log in [put, list, stuff] {
        assert!(matches!(log.ended, Ended::Budget(_)), "{}", log.ended);
    }
}

#[test]
fn calls_that_name_tables_lists_and_counts_of_any_kind_end_by_name() {
    let anything = [0, 1, 511, 512, 513, 0xfff, 0x1000, LIOBN, 1 << 31, 1 << 63, !0xfff, !0];
    for secure in [false, true] {
        let log = run_in(BEHIND, |a| {
            if secure {
                esm(a)?;
            }
            for number in [0x20, 0x138, 0x13c] {
                for first in [LIOBN, !0] {
                    for (place, second) in anything.iter().enumerate() {
                        let third = anything[(place * 5 + 3) % anything.len()];
                        for fourth in [0, 1, 512, 513, !0] {
                            call(a, number, &[first, *second, third, fourth])?;
                        }
                    }
                }
            }
            exit(a, 9)
        });
        assert_eq!(log.ended, Ended::Exit(9), "secure {secure}");
    }
}

/// As [`kick`], by a driver that accepts bit 33, with all of the window mapped to `page`.
fn kick_behind(a: &mut CodeAssembler, page: u64) -> Assembled {
    let mut again = a.create_label();
    a.xor(r12, r12)?;
    a.set_label(&mut again)?;
    a.mov(rdi, LIOBN)?;
    a.mov(rsi, r12)?;
    a.mov(rdx, page | 3)?;
    a.mov(rax, 0x20_u64)?;
    a.vmcall()?;
    a.add(r12, 0x1000)?;
    a.cmp(r12, 64 << 20)?;
    a.jb(again)?;
    a.mov(rbx, DEVICE)?;
    for (offset, value) in [
        (0x70, 0),
        (0x70, 3),
        (0x24, 1),
        (0x20, 3), // VERSION_1 and ACCESS_PLATFORM
        (0x70, 11),
        (0x30, 0),
        (0x38, 64),
        (0x80, 0),
        (0x90, 0x1000),
        (0xa0, 0x2000),
        (0x44, 1),
        (0x70, 15),
        (0x50, 0),
    ] {
        a.mov(dword_ptr(rbx + offset), value)?;
    }
    Ok(())
}

#[test]
fn a_window_whose_pages_are_all_one_page_neither_hangs_nor_escapes() {
    // Descriptors, available ring and used ring are the same bytes: buffers of any length and
    // chains that bite their tails.
    for word in [0_u64, 0x0001_0001_0001_0001, 0xffff_ffff, 1 << 32 | 0xffff, !0] {
        let log = run_in(BEHIND, |a| {
            a.mov(rdi, SCRATCH)?;
            a.mov(rcx, 512_u64)?;
            a.mov(rax, word)?;
            a.rep().stosq()?;
            kick_behind(a, SCRATCH)?;
            for _ in 0..4 {
                a.pause()?;
            }
            exit(a, 4)
        });
        assert!(matches!(log.ended, Ended::Exit(4) | Ended::Idle), "{word:#x}: {}", log.ended);
    }
}

#[test]
fn a_partition_of_any_size_runs() {
    for memory in ["16MiB", "3GiB", "5GiB", "16TiB"] {
        let body = format!("machine: (memory: \"{memory}\"), guest: (IMAGE)");
        let log = run_in(&body, |a| {
            esm(a)?;
            call(a, Ucall::UnshareAllPages.number(), &[])?;
            exit(a, Gpa(5).0)
        });
        assert_eq!(log.ended, Ended::Exit(5), "{memory}");
    }
}
