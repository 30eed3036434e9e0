//! Balloon work: pages given to the host and taken back, with the memory beside them watched.

use crate::calls::Trouble;
use crate::heap::{UNIT_BYTES, own_units};
use crate::pattern::{Pattern, Stream};
use crate::virtio::balloon::{Balloon, Change, PFNS_MAX};

const PAGE_BYTES: usize = 4096;
/// Pages of each 64 KiB, the last of which stays the guest's: what the host takes must not be more
/// than it was given.
const UNIT_PAGES: usize = UNIT_BYTES / PAGE_BYTES;
const GIVEN_PAGES: usize = UNIT_PAGES - 1;

/// Gives `pages` pages to the host, takes them back, and looks whether the pages between them
/// are what they were. What comes back may have lost its contents, but must be memory again.
///
/// # Errors
/// The balloon's troubles; mismatch `bal-neighbour` if other memory changed, `bal-page` if a page
/// that came back does not keep what is written to it.
#[inline(never)] // a frame of its own in call chains
pub fn run(pages: u32, seed: u64, balloon: &mut Balloon) -> Result<(), Trouble> {
    let pattern = Pattern::new(seed, Stream::Written);
    let memory = own_units((pages as usize).div_ceil(GIVEN_PAGES) * UNIT_BYTES);
    let first = memory.as_ptr().expose_provenance() / PAGE_BYTES;
    let pfn = |page: u32| (first + place(page)) as u32;
    pattern.fill(0, memory);
    for change in [Change::Inflate, Change::Deflate] {
        for start in (0..pages).step_by(PFNS_MAX) {
            let end = pages.min(start + PFNS_MAX as u32);
            balloon.change(change, (start..end).map(pfn))?;
        }
        balloon.report_actual(if change == Change::Inflate { pages } else { 0 })?;
    }
    for (number, unit) in memory.chunks_exact(UNIT_BYTES).enumerate() {
        let at = number * UNIT_BYTES + GIVEN_PAGES * PAGE_BYTES;
        if pattern.first_mismatch(at as u64, &unit[GIVEN_PAGES * PAGE_BYTES..]).is_some() {
            return Err(Trouble::mismatch("bal-neighbour"));
        }
    }
    pattern.fill(1 << 40, memory);
    match pattern.first_mismatch(1 << 40, memory) {
        None => Ok(()),
        Some(_) => Err(Trouble::mismatch("bal-page")),
    }
}

/// Which page of the memory the page with this number is: every 16th is left out.
const fn place(page: u32) -> usize {
    let page = page as usize;
    page / GIVEN_PAGES * UNIT_PAGES + page % GIVEN_PAGES
}
