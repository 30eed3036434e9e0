//! How a guest starts: its boot protocol, said or recognised, and what a loader hands over.

use super::codes::Code;
use super::draft::{Surroundings, path_help};
use super::file::{GuestFile, ModuleFile};
use super::plan::{Boot, ModulePlan};
use super::reading::{At, Located, Reader};
use crate::image::Announced;
use std::ops::Range;

/// A command line has at most this many bytes; the NUL behind it is not counted.
pub const COMMAND_LINE_BYTES_MAX: usize = 4095;
/// A guest has at most this many modules.
pub const MODULES_MAX: usize = 64;
/// A module has at most this many bytes.
pub const MODULE_BYTES_MAX: u64 = 64 << 20;
/// Modules begin on multiples of this (Multiboot Specification 0.6.96, 3.1.2, bit 0; for PVH
/// nothing says so).
const MODULE_ALIGN: u64 = 4096;

/// What the file says of it, and the image.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The protocol, if the file says one.
    pub boot: Option<At<Boot>>,
    /// Whether the file names an image, be it there or not.
    pub has_image: bool,
    /// Whether that image is told to be faulty, so that nobody knows what it would have announced.
    pub is_broken: bool,
    /// What the image asks for, if it does.
    pub announced: Option<Announced>,
    /// The guest's command line.
    pub command_line: Option<At<String>>,
    /// Its modules.
    pub modules: Vec<At<ModulePlan>>,
}

impl Start {
    /// Reads `boot`, `command_line` and `modules` out of `file`.
    pub fn read<'a>(
        reader: &mut Reader<'a>,
        file: &mut GuestFile<'a>,
        around: &mut Surroundings<'_>,
    ) -> Self {
        let boot = reader.take_if(file.boot.take());
        let command_line = command_line(reader, file.command_line.take());
        let list = reader.take_if(file.modules.take());
        let modules = list.map_or_else(Vec::new, |list| modules(reader, list, around));
        Self { boot, command_line, modules, ..Self::default() }
    }

    /// The protocol: what the file says, else what the image announces, else `elf64`.
    pub fn boot(&self) -> Boot {
        let announced = || self.announced.as_ref().map(|announced| announced.protocol.into());
        self.boot.as_ref().map(|at| at.value).or_else(announced).unwrap_or(Boot::Elf64)
    }

    /// Why it is this one, in words.
    pub fn boot_because(&self) -> String {
        match (&self.boot, &self.announced) {
            (Some(_), _) => "the scenario says so".to_owned(),
            (None, Some(announced)) => format!("the image has {}", announced.by),
            (None, None) => "nothing says otherwise".to_owned(),
        }
    }

    /// Where the file says how the guest starts; `otherwise` if it does not.
    pub fn span(&self, otherwise: &Range<usize>) -> Range<usize> {
        self.boot.as_ref().map_or_else(|| otherwise.clone(), |at| at.span.clone())
    }

    /// Refuses what `elf64` has no place for: it hands over a device tree and nothing else.
    pub fn check(&self, reader: &mut Reader<'_>) {
        let is_unknown = self.boot.is_none() && self.is_broken;
        if is_unknown || self.boot().protocol().is_physical() {
            return;
        }
        let boot = self.boot().word();
        let line = self.command_line.as_ref().map(|at| ("command line", &at.span));
        let modules = self.modules.first().map(|at| ("modules", &at.span));
        for (what, span) in line.into_iter().chain(modules) {
            let message = format!("`{boot}` hands over no {what}");
            let help = "give it an image that starts by `Multiboot1` or `Pvh`, or leave it out";
            reader.fault(Code::CONTRADICTION, span, message, Some(help.to_owned()));
        }
    }

    /// Refuses modules that have no room between the end of the image and that of the low RAM.
    pub fn check_room(&self, reader: &mut Reader<'_>, image_end: u64, ram_end: u64) {
        let sizes = self.modules.iter().map(|at| at.value.bytes.len() as u64);
        let wrong = self.modules.iter().zip(places(image_end, sizes));
        if let Some((at, place)) = wrong.into_iter().find(|(_, place)| place.end > ram_end) {
            let Range { start, end } = place;
            let message = format!(
                "it would lie at {start:#x} to {end:#x}, and the memory below 4 GiB ends at {ram_end:#x}"
            );
            let help = Some("give the guest more memory".to_owned());
            reader.fault(Code::CONTRADICTION, &at.span, message, help);
        }
    }
}

/// Where modules of these sizes lie: one after the other, behind the image.
pub fn places(
    image_end: u64,
    sizes: impl Iterator<Item = u64>,
) -> impl Iterator<Item = Range<u64>> {
    // Sizes are those of files that were read: no sum of 64 of them wraps.
    sizes.scan(image_end, |end, bytes| {
        let start = end.next_multiple_of(MODULE_ALIGN);
        *end = start + bytes;
        Some(start..*end)
    })
}

fn command_line<'a>(
    reader: &mut Reader<'a>,
    line: Option<Located<'a, String>>,
) -> Option<At<String>> {
    let line = reader.take_if(line)?;
    let wrong = match line.value.len() {
        bytes if bytes > COMMAND_LINE_BYTES_MAX => {
            Some(format!("{bytes} bytes, a command line has at most {COMMAND_LINE_BYTES_MAX}"))
        }
        _ if line.value.contains('\0') => {
            Some("it holds a NUL, and there it would end for the guest".to_owned())
        }
        _ => None,
    };
    if let Some(message) = wrong {
        reader.fault(Code::OUT_OF_RANGE, &line.span, message, None);
        return None;
    }
    Some(line)
}

fn modules<'a>(
    reader: &mut Reader<'a>,
    list: At<Vec<Located<'a, ModuleFile<'a>>>>,
    around: &mut Surroundings<'_>,
) -> Vec<At<ModulePlan>> {
    if list.value.len() > MODULES_MAX {
        let message = format!("{} modules, at most {MODULES_MAX}", list.value.len());
        reader.fault(Code::COUNT_LIMIT, &list.span, message, None);
        return Vec::new();
    }
    list.value.into_iter().filter_map(|item| module(reader, item, around)).collect()
}

fn module<'a>(
    reader: &mut Reader<'a>,
    item: Located<'a, ModuleFile<'a>>,
    around: &mut Surroundings<'_>,
) -> Option<At<ModulePlan>> {
    let At { value: ModuleFile { file, command_line: line }, span } = reader.take(item)?;
    let line = command_line(reader, line).map(|at| at.value).unwrap_or_default();
    let path = reader.take(file)?;
    match around.read(&path.value, MODULE_BYTES_MAX) {
        Ok(bytes) => {
            let module = ModulePlan { path: path.value, bytes, command_line: line };
            Some(At { value: module, span })
        }
        Err((code, message)) => {
            reader.fault(code, &path.span, message, path_help(code));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_lie_one_after_the_other_each_on_a_page_of_its_own() {
        let found: Vec<_> = places(0x10_2001, [1, 0, 0x1001, 5].into_iter()).collect();
        let wanted = [
            0x10_3000..0x10_3001,
            0x10_4000..0x10_4000,
            0x10_4000..0x10_5001,
            0x10_6000..0x10_6005,
        ];
        assert_eq!(found, wanted);
    }
}
