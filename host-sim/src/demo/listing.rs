//! The guest's code as people read it: the instructions around an address, and the function that
//! they are in.

use crate::escape;
use crate::image::Image;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};

/// A function is decoded from its start to know where instructions begin, if that is not farther.
const FUNCTION_BYTES_MAX: u64 = 64 << 10;
/// Most bytes of an instruction (SDM volume 2, 2.3.11).
const INSTRUCTION_BYTES_MAX: u64 = 15;

/// The images that may run.
pub struct Listing {
    images: Vec<Image>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it is.
    pub address: u64,
    /// Its text.
    pub text: String,
    /// Whether it is the next to be executed.
    pub is_next: bool,
}

impl Listing {
    /// The code of `images`.
    pub fn of(images: Vec<Image>) -> Self {
        Self { images }
    }

    /// `function+0xoffset`, escaped.
    pub fn function(&self, address: u64) -> Option<String> {
        let name = self.images.iter().find_map(|image| image.symbols.describe(address))?;
        Some(escape::terminal(&name))
    }

    /// Up to `before` instructions before the one at `address`, that one, and up to `after` behind.
    /// What comes before is told only if the function's start is known.
    pub fn around(&self, address: u64, before: usize, after: usize) -> Vec<Line> {
        let start = self.images.iter().find_map(|image| image.symbols.resolve(address));
        let start = start.map(|(function, _)| function.address);
        let start = start.filter(|start| address - start <= FUNCTION_BYTES_MAX);
        let mut earlier = self.decode(start.unwrap_or(address), address);
        // The function's start may not lead here: then nothing is known of what comes before.
        if earlier.last().is_some_and(|last| last.next_ip() != address) {
            earlier.clear();
        }
        let end = address + (after as u64 + 1) * INSTRUCTION_BYTES_MAX;
        let later = self.decode(address, end);
        let shown = earlier.iter().skip(earlier.len().saturating_sub(before));
        shown.chain(later.iter().take(after + 1)).map(|one| line(one, address)).collect()
    }

    /// The instructions that begin in `start..end`, as far as they are good.
    fn decode(&self, start: u64, end: u64) -> Vec<Instruction> {
        let (bitness, bytes) = self.bytes(start, end);
        let decoder = Decoder::with_ip(bitness, bytes, start, DecoderOptions::NONE);
        decoder.into_iter().take_while(|one| !one.is_invalid()).collect()
    }

    /// The bytes that an image's file has at `start..end`, and how wide their code is.
    fn bytes(&self, start: u64, end: u64) -> (u32, &[u8]) {
        let of_image = |image: &'_ Image| image.symbols.class().bitness();
        let segments = self
            .images
            .iter()
            .flat_map(|image| image.segments.iter().map(move |segment| (of_image(image), segment)));
        let found = segments.into_iter().find_map(|(bitness, segment)| {
            let from = usize::try_from(start.checked_sub(segment.gpa.0)?).ok()?;
            let bytes = segment.bytes.get(from..)?;
            let length = usize::try_from(end.saturating_sub(start)).ok()?.min(bytes.len());
            (length > 0).then(|| (bitness, &bytes[..length]))
        });
        found.unwrap_or((64, &[]))
    }
}

fn line(one: &Instruction, next: u64) -> Line {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_branch_leading_zeros(false);
    let mut text = String::new();
    formatter.format(one, &mut text);
    Line { address: one.ip(), text, is_next: one.ip() == next }
}
