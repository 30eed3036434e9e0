//! The table of all forms, printed: which are compared with the processor, and why others are not.

use crate::case;
use crate::common::Random;
use crate::failed;
use crate::forms::{self, Fate};
use crate::generate::Mode;
use iced_x86::Code;
use libtest_mimic::Failed;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const PATH: &str = "tests/silicon/forms.txt";
/// Draws after which a form that never had a supported shape has none.
const DRAWS: usize = 60;
const WIDTH: usize = 100;

/// Whether the engine has any shape of the form, in 64-bit mode or in 32-bit code.
pub fn supported(code: Code, narrow: bool) -> bool {
    let mode = if narrow { Mode::Flat } else { Mode::Long };
    let mut random = Random(code as u64);
    let mut shapes = (0..DRAWS).filter_map(|draw| {
        case::draw(code, draw % 2 == 0, mode, &mut random).map(|case| case.instruction)
    });
    shapes.any(|shape| ultravisor_cpu::supports(&shape))
}

/// What the test does with the form there; `None` if that mode has no such form.
fn fate(code: Code, narrow: bool) -> Option<Fate> {
    forms::exists(code, narrow).then(|| forms::fate(code, narrow, supported(code, narrow)))
}

/// Whether the form is run on both sides there.
pub fn is_compared(code: Code, narrow: bool) -> bool {
    fate(code, narrow) == Some(Fate::Compared)
}

fn printed() -> Result<String, std::fmt::Error> {
    let mut features: BTreeMap<String, BTreeMap<Fates, Vec<Code>>> = BTreeMap::new();
    let mut outside: BTreeMap<String, usize> = BTreeMap::new();
    for code in forms::all() {
        let feature = forms::feature(code);
        if forms::in_scope(code) {
            let fates = (fate(code, false), fate(code, true));
            features.entry(feature).or_default().entry(fates).or_default().push(code);
        } else {
            *outside.entry(format!("{:?}", code.encoding())).or_default() += 1;
        }
    }
    let mut out = String::from(
        "Every instruction form of 64-bit mode and of 32-bit code (iced-x86's names) and what the test \
         does with it.\n",
    );
    for (feature, fates) in &features {
        writeln!(out, "\n{feature}")?;
        for (fate, codes) in fates {
            writeln!(out, "  {}: {}", told(fate), codes.len())?;
            wrap(&mut out, codes)?;
        }
    }
    writeln!(out, "\nNot offered at all, and unsupported: forms by encoding")?;
    for (encoding, count) in outside {
        writeln!(out, "  {encoding}: {count}")?;
    }
    Ok(out)
}

/// What becomes of a form in 64-bit mode and in 32-bit code.
type Fates = (Option<Fate>, Option<Fate>);

fn told(fates: &Fates) -> String {
    let word = |fate: &Fate| match fate {
        Fate::Compared => "compared with the processor".to_owned(),
        Fate::NotNatively(why) => format!("implemented, not compared: {why}"),
        Fate::Unsupported => "ends as unsupported".to_owned(),
    };
    match fates {
        (Some(long), Some(narrow)) if long == narrow => word(long),
        (Some(long), Some(narrow)) => {
            format!("in 64-bit mode {}; in 32-bit code {}", word(long), word(narrow))
        }
        (Some(long), None) => format!("64-bit mode's alone, {}", word(long)),
        (None, Some(narrow)) => format!("32-bit code's alone, {}", word(narrow)),
        (None, None) => "of no mode".to_owned(),
    }
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
