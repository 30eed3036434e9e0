//! The table of error codes: one number, one sentence. Numbers are never used twice.

use std::fmt;

/// An error code: `E3xx` input, `E4xx` limits, `E5xx` outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub u16);

macro_rules! codes {
    ($($name:ident = $number:literal, $sentence:literal;)*) => {
        impl Code {
            $(#[doc = $sentence] pub const $name: Self = Self($number);)*

            /// Every code and its sentence, by number.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self($number), $sentence)),*];
        }
    };
}

codes! {
    TOO_LARGE = 301, "A scenario, design or policy file is larger than 1 MiB.";
    TOO_DEEP = 302, "Values are nested deeper than 64.";
    UNKNOWN_WORD = 303, "A field or a variant of that name does not exist.";
    OUT_OF_RANGE = 304, "A number, size or time is not in the range that its field allows.";
    MISSING = 305, "A field that has no default is missing.";
    WRONG_SHAPE = 307, "A value has another type or form than its field takes.";
    SYNTAX = 308, "The text is not RON.";
    NOT_TEXT = 309, "The file is not UTF-8.";
    LEAVES_FOLDER = 310, "A path leaves the folder of the file that names it.";
    UNREADABLE = 311, "A file that another one names cannot be read.";
    BAD_ARGUMENT = 312, "A path of the command line is missing or is no regular file or folder.";
    BAD_NAME = 313, "A name has characters that names do not have.";
    NO_ABOUT = 314, "The sentence that says what this is about is missing.";
    DUPLICATE = 315, "A name that must be unique is there twice.";
    UNKNOWN_ID = 316, "A device, counter, axis value or design of that name does not exist.";
    CONTRADICTION = 317, "Two choices exclude each other.";
    FORMAT = 318, "The format number is not one that this version reads.";
    HEAD_WORD = 319, "The file is none of the kinds that this version reads.";
    IMAGE = 320, "A guest image is wrong; E321 to E339 and E350 to E364 name the rule.";
    BAD_GLOB = 341, "A pattern over run ids is no glob.";
    BAD_DATE = 342, "A date is not a day of the calendar, written YYYY-MM-DD.";
    DISAGREEMENT = 343, "Two scenarios find different things about the same claim.";
    EVENTS = 344, "An event file is not one that `uvsim run --report events=FILE` wrote, or is not whole.";
    NO_RULES = 345, "A policy has no rules, so it demands nothing.";
    NO_MOMENT = 346, "A text of the demo has no event in its run.";
    WORK_UNITS = 401, "A run used up its work units: the guest goes on for ever, or for too long.";
    DEADLOCK = 402, "A guest waits for something, and nobody is left who could bring it.";
    MEMORY = 403, "A guest uses more memory than may be in use.";
    CONSOLE = 404, "A guest prints more than its consoles may hold.";
    WALL_CLOCK = 405, "A run was still going on when its wall-clock time was up.";
    HOST_STEPS = 406, "A guest keeps the host side busy for more steps than a run may have.";
    CALLS = 407, "A guest makes more calls than a run may have.";
    LOG = 408, "More happened in a run than its log may hold.";
    FINDINGS = 409, "More leaks were found in a run than are told one by one.";
    MATRIX = 411, "A matrix has more combinations than one scenario, or a file of its size, may have.";
    PARTITION = 412, "A partition is larger than 16 TiB.";
    FILE_LIMIT = 413, "A file that a scenario names is larger than its limit.";
    COUNT_LIMIT = 414, "There are more devices, steps, files or runs than the limit.";
    POOL_LIMIT = 415, "A swiotlb pool is larger than its limit.";
    FAULTS = 416, "A file has more than 100 faults; the rest is not told.";
    OUTPUT = 510, "A report could not be written.";
}

impl Code {
    /// The one sentence; codes of images (E321 to E339, E350 to E364) share E320's.
    pub fn sentence(self) -> &'static str {
        let is_image = (321..=339).contains(&self.0) || (350..=364).contains(&self.0);
        let shared = if is_image { Self::IMAGE } else { self };
        Self::ALL.iter().find(|(code, _)| *code == shared).map_or("", |(_, sentence)| sentence)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:03}", self.0)
    }
}
