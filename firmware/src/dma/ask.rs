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

/// Which path a device takes: [`decide`] of these numbers. `life` is what the kernel knows without
/// looking; one that looks for itself searches the tree here, every time.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_decide(virtio: u64, ops: u64, life: u64, addresses: u64, window: u64) -> u64 {
    let known = (
        Virtio::ALL.get(virtio as usize),
        Ops::ALL.get(ops as usize),
        Life::ALL.get(life as usize),
        Addresses::ALL.get(addresses as usize),
        Window::ALL.get(window as usize),
    );
    let (Some(virtio), Some(ops), Some(life), Some(addresses), Some(window)) = known else {
        return Path::Refuse as u64;
    };
    let life = match (source(*virtio), *addresses) {
        (Source::Flag, _) | (Source::SearchIfRaw, Addresses::Platform) => *life,
        (Source::SearchIfRaw, Addresses::Raw) | (Source::SearchFirst, _) => search(),
    };
    decide(*virtio, *ops, life, *addresses, *window) as u64
}

/// What the platform predicate takes the guest for: secure, if there is an ultravisor.
fn search() -> Life {
    let found = TREE.with(|tree| has_compatible(tree, ULTRAVISOR_COMPATIBLE));
    if found { Life::Secure } else { Life::Normal }
}
