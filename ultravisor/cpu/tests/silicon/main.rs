//! The engine against the processor that runs the tests: every instruction form, from random
//! states, natively in a process of its own and in the engine; registers, flags, memory and faults
//! must be the same. Both sides run in ring 3, so that what is privileged must be refused alike.
//!
//! `UVSIM_SILICON_ROUNDS=N` runs N times as many cases from other seeds. `BLESS=1` reprints the
//! table of forms (`tests/silicon/forms.txt`).
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test program of its own")]

mod case;
mod child;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod coverage;
mod engine;
mod forms;
mod functions;
mod generate;
mod native;
mod numbers;
mod offers;
mod record;
mod structures;
mod trials;
mod undefined;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(child::ARGUMENT) {
        return child::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let arguments = Arguments::from_args();
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let mut all = trials::by_feature();
    all.push(Trial::test("the_table_of_forms_is_the_printed_one", coverage::check));
    all.push(Trial::test("cpuid_offers_exactly_what_is_implemented", offers::check));
    let conclusion = libtest_mimic::run(&arguments, all);
    if whole && let Err(few) = trials::enough() {
        eprintln!("{few}");
        return ExitCode::FAILURE;
    }
    if conclusion.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// An error as the test runner wants it.
fn failed(error: impl ToString) -> Failed {
    Failed::from(error.to_string())
}
