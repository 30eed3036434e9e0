//! The probe point `dma_decide`: each run of it is one decision, and what a kernel has to look up
//! for one is looked up inside.
#![expect(unsafe_code, reason = "a function with a C name")]

use crate::dma::decide::{Addresses, Life, Path, Source, Window, decide, source};
use crate::dma::predicate::has_compatible;
use crate::kernel::{Ops, Virtio};
use crate::single::Single;
use ultravisor_abi::boot::ULTRAVISOR_COMPATIBLE;

/// The tree that is searched.
static TREE: Single<&'static [u8]> = Single::new(&[]);

/// Tells where the device tree lies.
pub fn tree_is_at(tree: &'static [u8]) {
    TREE.with(|known| *known = tree);
}

/// [`decide`] of every question, as the compiler answers it: a decision costs what its look-ups
/// cost, and not what this crate's way of writing it down does.
const PATHS: [[[[[Path; 2]; 2]; 2]; Ops::ALL.len()]; Virtio::ALL.len()] = {
    let mut paths = [[[[[Path::Refuse; 2]; 2]; 2]; Ops::ALL.len()]; Virtio::ALL.len()];
    let mut index = 0;
    while index < Virtio::ALL.len() * Ops::ALL.len() * 8 {
        let (row, cell) = (index / 8, index % 8);
        let (virtio, ops) = (row / Ops::ALL.len(), row % Ops::ALL.len());
        let (life, addresses, window) = (cell / 4, cell / 2 % 2, cell % 2);
        paths[virtio][ops][life][addresses][window] = decide(
            Virtio::ALL[virtio],
            Ops::ALL[ops],
            Life::ALL[life],
            Addresses::ALL[addresses],
            Window::ALL[window],
        );
        index += 1;
    }
    paths
};

/// Where each kernel learns whether its guest is secure, by its number.
const SOURCES: [Source; Virtio::ALL.len()] = {
    let mut sources = [Source::Flag; Virtio::ALL.len()];
    let mut index = 0;
    while index < sources.len() {
        sources[index] = source(Virtio::ALL[index]);
        index += 1;
    }
    sources
};

/// Which path a device takes: [`decide`] of these numbers. `life` is what the kernel knows without
/// looking; one that looks for itself searches the tree here, every time.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_decide(virtio: u64, ops: u64, life: u64, addresses: u64, window: u64) -> u64 {
    let raw = addresses == Addresses::Raw as u64;
    let life = match SOURCES.get(virtio as usize) {
        Some(Source::SearchFirst) => search() as u64,
        Some(Source::SearchIfRaw) if raw => search() as u64,
        Some(Source::Flag | Source::SearchIfRaw) | None => life,
    };
    let path = PATHS.get(virtio as usize).and_then(|paths| {
        paths.get(ops as usize)?.get(life as usize)?.get(addresses as usize)?.get(window as usize)
    });
    path.map_or(Path::Refuse as u64, |path| *path as u64)
}

/// What the platform predicate takes the guest for: secure, if there is an ultravisor.
fn search() -> Life {
    let found = TREE.with(|tree| has_compatible(tree, ULTRAVISOR_COMPATIBLE));
    if found { Life::Secure } else { Life::Normal }
}
