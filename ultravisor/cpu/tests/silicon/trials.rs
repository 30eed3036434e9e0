//! The runs: one test for each group of forms, each form many times from its own seed.

use crate::case::{self, Case};
use crate::common::Random;
use crate::compare;
use crate::engine::{Engine, Unexpected};
use crate::generate::Mode;
use crate::native::Processor;
use crate::{coverage, failed, forms, undefined};
use iced_x86::Code;
use libtest_mimic::{Failed, Trial};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cases of each shape (operand in a register, in memory) of a form, in each mode.
const CASES: usize = 110;
/// The least number of executions of a whole run.
const EXECUTIONS_MIN: u64 = 200_000;
/// How many differences of a form are told.
const TOLD: usize = 3;

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// How many times as many cases are wanted as in a usual run.
fn rounds() -> u64 {
    let wanted = std::env::var("UVSIM_SILICON_ROUNDS").ok();
    wanted.and_then(|rounds| rounds.parse().ok()).unwrap_or(1).max(1)
}

/// A test for each feature that has forms to compare.
pub fn by_feature() -> Vec<Trial> {
    let mut groups: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in forms::all().filter(|&code| forms::in_scope(code)) {
        if [false, true].iter().any(|&narrow| coverage::is_compared(code, narrow)) {
            groups.entry(forms::feature(code)).or_default().push(code);
        }
    }
    let trial = |(feature, codes): (String, Vec<Code>)| {
        let name = format!("forms_of_{}_do_what_the_processor_does", feature.replace(' ', "_"));
        Trial::test(name, move || group(&codes))
    };
    groups.into_iter().map(trial).collect()
}

/// Tells how many executions were compared; fails if a whole run was too small to count.
pub fn enough() -> Result<(), String> {
    let executions = EXECUTIONS.load(Ordering::SeqCst);
    println!("{executions} executions compared");
    if executions >= EXECUTIONS_MIN {
        return Ok(());
    }
    Err(format!("only {executions} executions were compared, {EXECUTIONS_MIN} are wanted"))
}

fn group(codes: &[Code]) -> Result<(), Failed> {
    let mut processor = Processor::new().map_err(failed)?;
    let mut engine = Engine::new();
    let mut differences = Vec::new();
    for &code in codes {
        if let Some(feature) = forms::lacking(code) {
            println!("{code:?} is not tested here: this host lacks {feature}");
            continue;
        }
        for round in 0..rounds() {
            for narrow in [false, true] {
                if !coverage::is_compared(code, narrow) {
                    continue;
                }
                let mut random = Random(code as u64 | u64::from(narrow) << 31 | round << 32);
                let cases = cases(code, narrow, &mut random);
                differences.extend(compare_all(code, &cases, &mut processor, &mut engine)?);
            }
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(failed(differences.join("\n"))) }
}

/// Cases of a form that the engine has.
fn cases(code: Code, narrow: bool, random: &mut Random) -> Vec<Case> {
    let shape = |memory| {
        let mode = |draw| match (narrow, draw % 4) {
            (false, _) => Mode::Long,
            (true, 0) => Mode::Limited,
            (true, _) => Mode::Flat,
        };
        // Some draws have no encoding or no meaning: bounded, not until enough.
        let draws: Vec<Case> = (0..2 * CASES)
            .filter_map(|draw| case::draw(code, memory, mode(draw), random))
            .filter(|case| ultravisor_cpu::supports(&case.instruction))
            .filter(|case| undefined::of(case).is_some())
            .take(CASES)
            .collect();
        draws
    };
    [false, true].into_iter().flat_map(shape).collect()
}

/// The differences of a form, the first few.
fn compare_all(
    code: Code,
    cases: &[Case],
    processor: &mut Processor,
    engine: &mut Engine,
) -> Result<Vec<String>, Failed> {
    let starts: Vec<_> = cases.iter().map(|case| case.start.clone()).collect();
    let natives = processor.run(&starts).map_err(|error| {
        failed(format!("{code:?} ended the process that ran it natively: {error}"))
    })?;
    let mut differences = Vec::new();
    for (case, native) in cases.iter().zip(natives) {
        let difference = match engine.run(&case.start) {
            Ok(ours) => compare::difference(case, native, &ours),
            Err(Unexpected(exit)) => Some(format!("{} ({code:?}): {exit:?}", case.instruction)),
        };
        differences.extend(difference);
    }
    EXECUTIONS.fetch_add(cases.len() as u64, Ordering::SeqCst);
    let more = differences.len().saturating_sub(TOLD);
    let all = cases.len();
    differences.truncate(TOLD);
    if more > 0 {
        differences.push(format!("  ... {more} more of {all} cases of {code:?}"));
    }
    Ok(differences)
}
