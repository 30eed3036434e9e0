//! The text of scenario, design, policy and chapter files: it is read or refused, and what is said
//! about it is inert and points into it.

use super::scenario;
use host_sim::escape;
use host_sim::scenario::chapter::Chapter;
use host_sim::scenario::design::Design;
use host_sim::scenario::diagnostics::{self, Fault, Form, Look, SourceText};
use host_sim::scenario::head::{self, Head};
use host_sim::scenario::policy::Policy;
use std::sync::Arc;

/// A longer text says nothing new, and a matrix in it could be large.
const BYTES_MAX: usize = 4096;
/// Plans of one scenario.
const PLANS_MAX: usize = 4096;
/// Faults that are looked at: what the tool shows.
const FAULTS_MAX: usize = 8;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(&data[..data.len().min(BYTES_MAX)]) else { return };
    let source = Arc::new(SourceText { path: "fuzz.ron".into(), text: text.to_owned() });
    let faults = read(&source).err().unwrap_or_default();
    for fault in faults.iter().take(FAULTS_MAX) {
        say(fault, text);
    }
}

fn read(source: &Arc<SourceText>) -> Result<(), Vec<Fault>> {
    match head::kind(source).map_err(|fault| vec![fault])? {
        Head::Scenario => {
            let plans = scenario::plans(source)?;
            assert!(!plans.is_empty() && plans.len() <= PLANS_MAX, "{} plans", plans.len());
        }
        Head::Design => drop(Design::read(source)?),
        Head::Policy => drop(Policy::read(source)?),
        Head::Chapter => drop(Chapter::read(source)?),
    }
    Ok(())
}

fn say(fault: &Fault, text: &str) {
    let lines = text.split('\n').count();
    if let Some((line, column)) = fault.position() {
        assert!((1..=lines).contains(&line) && column >= 1, "{line}:{column}");
    }
    let code = fault.code.to_string();
    for form in [Form::Picture, Form::Narrated, Form::Json] {
        for unicode in [false, true] {
            let said = diagnostics::render(fault, Look { color: false, unicode, form });
            assert!(said.contains(&code), "{said}");
            let raw = |c: char| escape::is_active(c) && c != '\n';
            assert!(!said.contains(raw) && !said.contains("##["), "{said:?}");
            assert!(unicode || form != Form::Picture || said.is_ascii(), "{said}");
        }
    }
}
