//! Every instruction of an image, for a test that no form in it is unknown to the guest CPU.

use super::{Image, Segment};
use iced_x86::{Decoder, DecoderOptions, Instruction};

/// The instructions of all executable segments, decoded one after the other from each segment's
/// start. Bytes that are no instruction come out as invalid ones.
pub fn instructions(image: &Image) -> impl Iterator<Item = Instruction> {
    image.segments.iter().filter(|segment| segment.flags.executable).flat_map(of_segment)
}

fn of_segment(segment: &Segment) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::with_ip(64, &segment.bytes, segment.gpa.0, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}
