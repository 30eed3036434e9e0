//! The claims of the mail thread: which one a scenario settles, and with which finding.

use super::codes::Code;
use super::diagnostics::{Fault, SourceText};
use super::reading::{At, Located, Reader};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// The thread's claims are numbered from 1 to 25 (`uvsim explain claim-1` and on).
pub const NUMBERS: RangeInclusive<u8> = 1..=25;

/// `claim: (...)` as the file says it.
#[derive(Debug, Deserialize)]
#[serde(rename = "claim", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Argument`, where they lead to")]
pub struct ArgumentFile<'a> {
    #[serde(borrow)]
    pub number: Located<'a, u8>,
    #[serde(borrow)]
    pub by: Located<'a, String>,
    #[serde(borrow)]
    pub says: Located<'a, String>,
    #[serde(borrow)]
    pub finding: Located<'a, Finding>,
}

/// What the runs say about a claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum Finding {
    /// It is so.
    Supported,
    /// It is not so.
    Refuted,
    /// It is so under this condition.
    Qualified(String),
    /// It cannot be measured here, for this reason; what was measured instead is said with it.
    NotMeasurable(String),
}

/// A [`Finding`] without its text, as JSON and tables name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented at `Finding`")]
pub enum FindingWord {
    Supported,
    Refuted,
    Qualified,
    NotMeasurable,
}

impl Finding {
    /// Which one.
    pub fn word(&self) -> FindingWord {
        match self {
            Self::Supported => FindingWord::Supported,
            Self::Refuted => FindingWord::Refuted,
            Self::Qualified(_) => FindingWord::Qualified,
            Self::NotMeasurable(_) => FindingWord::NotMeasurable,
        }
    }

    /// The condition, or the reason.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Supported | Self::Refuted => None,
            Self::Qualified(text) | Self::NotMeasurable(text) => Some(text),
        }
    }
}

impl FindingWord {
    /// The words for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::Qualified => "qualified",
            Self::NotMeasurable => "not measurable",
        }
    }
}

/// One claim of the thread, as one scenario settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its number: `uvsim explain claim-1` and on say what each claims.
    pub number: u8,
    /// Who said it, and when.
    pub by: String,
    /// The claim in one sentence.
    pub says: String,
    /// What the scenario finds.
    pub finding: Finding,
    source: Arc<SourceText>,
    span: Range<usize>,
}

impl Argument {
    /// Reads `claim:` out of `source`.
    pub fn read<'a>(
        reader: &mut Reader<'a>,
        file: At<ArgumentFile<'a>>,
        source: &Arc<SourceText>,
    ) -> Option<Self> {
        let At { value: ArgumentFile { number, by, says, finding }, span } = file;
        let number = reader.take(number).filter(|number| {
            let is_known = NUMBERS.contains(&number.value);
            if !is_known {
                let message =
                    format!("the thread's claims are numbered from 1 to {}", NUMBERS.end());
                reader.fault(Code::OUT_OF_RANGE, &number.span, message, None);
            }
            is_known
        });
        let by = said(reader, by, "by");
        let says = said(reader, says, "says");
        let finding = reader.take(finding).filter(|finding| {
            let is_said = finding.value.text().is_none_or(|text| !text.trim().is_empty());
            if !is_said {
                let message = "say the condition or the reason".to_owned();
                reader.fault(Code::NO_ABOUT, &finding.span, message, None);
            }
            is_said
        });
        Some(Self {
            number: number?.value,
            by: by?,
            says: says?,
            finding: finding?.value,
            source: source.clone(),
            span,
        })
    }

    /// `file:line:column`.
    pub fn place(&self) -> String {
        self.fault(String::new()).place()
    }

    fn fault(&self, message: String) -> Fault {
        let fault = Fault::at(&self.source, self.span.clone(), Code::DISAGREEMENT, message);
        Fault { label: "this one", ..fault }
    }
}

fn said<'a>(reader: &mut Reader<'a>, text: Located<'a, String>, what: &str) -> Option<String> {
    let At { value, span } = reader.take(text)?;
    if value.trim().is_empty() {
        reader.fault(Code::NO_ABOUT, &span, format!("`{what}` is empty"), None);
        return None;
    }
    Some(value)
}

/// Several scenarios may settle the same claim, but not differently: each that differs from the
/// first is a fault that names both places.
pub fn disagreements<'a>(arguments: impl IntoIterator<Item = &'a Argument>) -> Vec<Fault> {
    let mut first: BTreeMap<u8, &Argument> = BTreeMap::new();
    let mut faults = Vec::new();
    for argument in arguments {
        let other = *first.entry(argument.number).or_insert(argument);
        if other.finding != argument.finding {
            let number = argument.number;
            let message = format!(
                "claim {number} is found otherwise at {}: finding and condition must agree",
                other.place()
            );
            let fault = argument.fault(message);
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    faults
}
