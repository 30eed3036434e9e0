//! The thread, measured: what the README shows of it, as the command prints it.

use super::sources;
use host_sim::cli::{self, Terminal, World};
use host_sim::escape;
use host_sim::run;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Waivers have a last day; the README is judged on this one.
const TODAY: &str = "2026-11-22";

fn uvsim(arguments: &[&str]) -> (u8, String) {
    let scenarios = sources::root().join("scenarios");
    let place = |word: &&str| match word.strip_prefix("scenarios/") {
        Some(rest) => scenarios.join(rest).into_os_string(),
        None => OsString::from(word),
    };
    let words = ["uvsim"].iter().chain(arguments).map(place);
    let runner = |plan: &_, late: &_| run::run_until(plan, late).map_err(|why| why.to_string());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let terminal = Terminal::default();
    let world = World { runner: &runner, out: &mut out, err: &mut err, terminal };
    let code = cli::main(words.collect::<Vec<_>>(), world);
    (code, String::from_utf8(out).expect("output is UTF-8"))
}

fn compare(format: &str) -> String {
    let policy = ["--policy", "scenarios/policies/thread.ron", "--today", TODAY];
    let words = ["compare", "scenarios/thread", "--format", format].into_iter().chain(policy);
    let (code, out) = uvsim(&words.collect::<Vec<_>>());
    assert_eq!(code, 0, "{out}");
    out
}

/// Designs and demands: the first table of `compare`, with its key.
pub fn designs() -> String {
    let out = compare("md");
    let table = out.split("### ").nth(1).expect("it begins with a heading");
    let (_, table) = table.split_once("\n\n").expect("the table follows");
    format!("{}\n", table.trim_end())
}

/// The claims and what was found.
pub fn claims() -> String {
    let json = results(&["run", "scenarios/thread/claims"]);
    let text = |claim: &Value, key: &str| {
        escape::markdown(claim[key].as_str().unwrap_or_default()).replace("not\\_", "not ")
    };
    let row = |claim: &Value| {
        let holds = if claim["holds"] == true { "yes" } else { "**no**" };
        let [finding, says, condition] =
            ["finding", "says", "condition"].map(|key| text(claim, key));
        format!("| {} | {says} | {finding} | {holds} | {condition} |\n", claim["number"])
    };
    let claims = json["claims"].as_array().expect("claims");
    let rows: String = claims.iter().map(row).collect();
    format!("| | claimed | found | borne out | if, or why not |\n|--:|---|---|---|---|\n{rows}")
}

/// The JSON of a run that is as expected.
fn results(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("result.json");
    let report = format!("json={}", file.display());
    let words = arguments.iter().copied().chain(["--report", &report]);
    let (code, out) = uvsim(&words.collect::<Vec<_>>());
    assert_eq!(code, 0, "{out}");
    let text = std::fs::read_to_string(file).expect("it was written");
    serde_json::from_str(&text).expect("JSON")
}

/// Rules for which no run is red (denied or waived), or none is green.
pub fn one_sided_rules() -> Vec<String> {
    let policy = "scenarios/policies/thread.ron";
    let json = results(&["run", "scenarios/thread", "--policy", policy, "--today", TODAY]);
    let mut sides: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
    for run in json["runs"].as_array().expect("runs") {
        for ruling in run["policy"].as_array().expect("rulings") {
            let rule = ruling["rule"].as_str().expect("its id");
            let red = usize::from(ruling["verdict"] != "pass");
            sides.entry(rule).or_default()[red] = true;
        }
    }
    assert!(sides.len() > 10, "only {} rules spoke", sides.len());
    let sided = sides.into_iter().filter(|(_, both)| both.contains(&false));
    sided.map(|(rule, _)| rule.to_owned()).collect()
}
