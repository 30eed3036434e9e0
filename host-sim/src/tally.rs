//! How many runs came out how, and the exit code and the last line that follow.

use crate::output::words;
use crate::streams::exit;
use crate::verdict::Verdict;

/// How many runs came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
    /// Failed, as is known or waived.
    pub expected_failures: usize,
    /// Nothing was expected, on purpose.
    pub not_asked: usize,
    /// Without a verdict.
    pub unjudged: usize,
    /// Stopped by a bug of ours.
    pub panicked: usize,
    /// Designs whose file claims less than they need.
    pub wrong_designs: usize,
}

impl Tally {
    /// Counts a run with this verdict; `unjudged` if its scenario says nothing at all: then only a
    /// policy can fail it.
    pub fn count(&mut self, verdict: Verdict, unjudged: bool) {
        match verdict {
            Verdict::Fail => self.failed += 1,
            _ if unjudged => self.unjudged += 1,
            Verdict::Pass => self.passed += 1,
            Verdict::ExpectedFailure => self.expected_failures += 1,
            Verdict::None => self.not_asked += 1,
        }
    }

    /// What to exit with; `unwritten`: a report could not be written.
    pub fn exit_code(&self, unwritten: bool) -> u8 {
        match () {
            () if self.panicked > 0 => exit::BUG,
            () if self.unjudged > 0 => exit::NO_VERDICT,
            () if unwritten => exit::OUTPUT,
            () if self.failed + self.wrong_designs > 0 => exit::UNEXPECTED,
            () => exit::OK,
        }
    }

    /// Why `runs` runs lead to `code`.
    pub fn reason(&self, runs: usize, code: u8) -> String {
        let all = words::count(runs, "run");
        let mut parts = vec![format!("{} as expected", self.passed)];
        for (number, what) in [
            (self.expected_failures, "expected to fail"),
            (self.not_asked, "with nothing expected"),
            (self.failed, "NOT as expected"),
            (self.unjudged, "without a verdict"),
            (self.panicked, "stopped by a bug of uvsim"),
        ] {
            if number > 0 {
                parts.push(format!("{number} {what}"));
            }
        }
        if self.wrong_designs > 0 {
            let designs = words::count(self.wrong_designs, "design");
            parts.push(format!("{designs} whose file claims less than is needed"));
        }
        let because = match code {
            exit::BUG => ": a bug of uvsim",
            exit::NO_VERDICT => {
                ": a scenario without `expect`, or a run that could not start or took too long, \
                 has no verdict"
            }
            exit::OUTPUT => ": a report could not be written",
            _ => "",
        };
        format!("{all}: {}{because}", parts.join(", "))
    }
}
