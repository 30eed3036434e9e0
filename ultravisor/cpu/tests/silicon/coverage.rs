//! The table of all forms, printed: which are compared with the processor, and why others are not.

use crate::case;
use crate::common::Random;
use crate::failed;
use crate::forms::{self, Fate};
use iced_x86::Code;
use libtest_mimic::Failed;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const PATH: &str = "tests/silicon/forms.txt";
/// Draws after which a form that never had a supported shape has none.
const DRAWS: usize = 60;
const WIDTH: usize = 100;

/// Whether the engine has any shape of the form.
pub fn supported(code: Code) -> bool {
    let mut random = Random(code as u64);
    let mut shapes = (0..DRAWS).filter_map(|draw| {
        case::draw(code, draw % 2 == 0, &mut random).map(|case| case.instruction)
    });
    shapes.any(|shape| ultravisor_cpu::supports(&shape))
}

fn printed() -> Result<String, std::fmt::Error> {
    let mut features: BTreeMap<String, BTreeMap<Fate, Vec<Code>>> = BTreeMap::new();
    let mut outside: BTreeMap<String, usize> = BTreeMap::new();
    for code in forms::all() {
        let feature = forms::feature(code);
        if forms::in_scope(code) {
            let fate = forms::fate(code, supported(code));
            features.entry(feature).or_default().entry(fate).or_default().push(code);
        } else {
            *outside.entry(format!("{:?}", code.encoding())).or_default() += 1;
        }
    }
    let mut out = String::from(
        "Every instruction form of 64-bit mode (iced-x86's names) and what the test does with it.\n",
    );
    for (feature, fates) in &features {
        writeln!(out, "\n{feature}")?;
        for (fate, codes) in fates {
            let what = match fate {
                Fate::Compared => "compared with the processor".to_owned(),
                Fate::NotNatively(why) => format!("implemented, not compared: {why}"),
                Fate::Unsupported => "ends as unsupported".to_owned(),
            };
            writeln!(out, "  {what}: {}", codes.len())?;
            wrap(&mut out, codes)?;
        }
    }
    writeln!(out, "\nNot offered at all, and unsupported: forms by encoding")?;
    for (encoding, count) in outside {
        writeln!(out, "  {encoding}: {count}")?;
    }
    Ok(out)
}

/// The names, filled to lines.
fn wrap(out: &mut String, codes: &[Code]) -> std::fmt::Result {
    let mut line = String::from("   ");
    for code in codes {
        let name = format!(" {code:?}");
        if line.len() + name.len() > WIDTH {
            writeln!(out, "{line}")?;
            line = String::from("   ");
        }
        line.push_str(&name);
    }
    writeln!(out, "{line}")
}

/// Compares with the file, or writes it (`BLESS=1`).
pub fn check() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
    let printed = printed().map_err(failed)?;
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(&path, printed).map_err(failed);
    }
    let kept = std::fs::read_to_string(&path).map_err(failed)?;
    let different = printed.lines().zip(kept.lines()).find(|(now, kept)| now != kept);
    match different {
        Some((now, kept)) => Err(failed(format!("now:  {now}\nkept: {kept}\nBLESS=1 reprints it"))),
        None if printed.len() != kept.len() => Err(failed("lines are missing: BLESS=1")),
        None => Ok(()),
    }
}
