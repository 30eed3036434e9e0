//! Every shipped scenario is a test, one for each run, by its run id.

use host_sim::run;
use host_sim::scenario::select;
use host_sim::verdict::{self, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::PathBuf;

fn main() {
    let arguments = Arguments::from_args();
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let selection = match select::select(&[folder], 1) {
        Ok(selection) => selection,
        Err(faults) => {
            let places: Vec<String> =
                faults.iter().map(|fault| format!("{} {}", fault.place(), fault.message)).collect();
            let trial = Trial::test("shipped files are right", move || {
                Err(Failed::from(places.join("\n")))
            });
            libtest_mimic::run(&arguments, vec![trial]).exit();
        }
    };
    let trials = selection.runs.into_iter().map(|planned| {
        let plan = planned.plan;
        Trial::test(plan.id.clone(), move || {
            let log = run::run(&plan).map_err(|why| Failed::from(why.to_string()))?;
            let judged = verdict::judge(&plan, &log);
            // What is listed as a known failure must fail, and does not count.
            let failed = judged.checks.iter().filter(|check| check.verdict == Verdict::Fail);
            let told: Vec<String> = failed
                .map(|check| {
                    format!("{}: expected {}; found {}", check.id, check.expected, check.found)
                })
                .collect();
            match (judged.verdict, told.as_slice()) {
                (Verdict::Pass | Verdict::ExpectedFailure, []) => Ok(()),
                _ => Err(Failed::from(format!("ended {}\n{}", log.ended, told.join("\n")))),
            }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
