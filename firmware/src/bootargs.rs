//! `/chosen/bootargs`: the choices that reach a guest, as text.
//!
//! The host prints them ([`core::fmt::Display`]) and the guest parses them; both sides use this
//! file, so they cannot drift apart. Words are separated by blanks; words that do not begin with
//! `uvsim.` are somebody else's and skipped, as a kernel does:
//!
//! ```text
//! uvsim.secure=1 uvsim.boot=slof uvsim.seed=1 uvsim.virtio=hooked-ops uvsim.ops=swiotlb
//! uvsim.bit33=if-offered uvsim.identity=0 uvsim.demands=0 uvsim.quirk=0 uvsim.tce=single
//! uvsim.bug=none uvsim.switch=before-probe uvsim.kexec=never uvsim.slof=today
//! uvsim.swiotlb=8388608 uvsim.rings=together uvsim.waits=polling uvsim.wait=100000000
//! uvsim.work=blk:random,own,refill:w64x4096,b;con:3
//! ```

use crate::kernel::{Bit33, Bug, BugKind, Kernel, Kexec, Ops, Switch, Tce, Virtio};
use crate::workload::{
    BlockOp, ENTROPY_BYTES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MIN, NetOp, OPS_MAX, Order, Placement,
    SECTOR_BYTES, WORK_MAX, Work,
};
use core::fmt;

/// Where ring memory lies when it is not taken from swiotlb's shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// Descriptor table, available ring and used ring of a queue in one 64 KiB unit.
    Together,
    /// The used ring in a 64 KiB unit of its own.
    Apart,
}

/// What the guest does while it waits for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// It looks at the ring again and again, and lets virtual time pass between.
    #[default]
    Polling,
    /// It halts until the device interrupts it.
    Interrupts,
}

/// All that a guest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootArgs {
    /// Whether the guest shall call UV_ESM.
    pub secure: bool,
    /// Whether the first block device is the disk that slof booted from, and not the workload's.
    pub boot_disk: bool,
    /// The run's seed: patterns, orders, the guest's secret.
    pub seed: u64,
    /// What the kernel was built to do about DMA.
    pub kernel: Kernel,
    /// How it maps many pages at once.
    pub tce: Tce,
    /// What its block driver does wrong, if anything.
    pub bug: Option<Bug>,
    /// When it becomes secure.
    pub switch: Switch,
    /// Whether a new kernel takes over.
    pub kexec: Kexec,
    /// Whether boot firmware knows the TCE IOMMU.
    pub slof_tce: bool,
    /// Size of the swiotlb pool in bytes, a multiple of 256 KiB.
    pub swiotlb_bytes: u64,
    /// Where rings lie under direct DMA.
    pub rings: Rings,
    /// What it does while it waits.
    pub waits: Waits,
    /// What to do; `None` after the last.
    pub work: [Option<Work>; WORK_MAX],
    /// Bound of every wait, in virtual nanoseconds.
    pub wait_ns: u64,
}

/// A word of the bootargs that does not say what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBootArgs {
    /// The key, e.g. `uvsim.seed`; its value is missing, doubled or wrong.
    pub key: &'static str,
}

const SECURE: &str = "uvsim.secure";
const BOOT: &str = "uvsim.boot";
const SEED: &str = "uvsim.seed";
const VIRTIO: &str = "uvsim.virtio";
const OPS: &str = "uvsim.ops";
const BIT_33: &str = "uvsim.bit33";
const IDENTITY: &str = "uvsim.identity";
const DEMANDS: &str = "uvsim.demands";
const QUIRK: &str = "uvsim.quirk";
const TCE: &str = "uvsim.tce";
const BUG: &str = "uvsim.bug";
const SWITCH: &str = "uvsim.switch";
const KEXEC: &str = "uvsim.kexec";
const SLOF: &str = "uvsim.slof";
const SWIOTLB: &str = "uvsim.swiotlb";
const RINGS: &str = "uvsim.rings";
const WAITS: &str = "uvsim.waits";
const WAIT: &str = "uvsim.wait";
const WORK: &str = "uvsim.work";
const KEYS: [&str; 19] = [
    SECURE, BOOT, SEED, VIRTIO, OPS, BIT_33, IDENTITY, DEMANDS, QUIRK, TCE, BUG, SWITCH, KEXEC,
    SLOF, SWIOTLB, RINGS, WAITS, WAIT, WORK,
];

/// Words and what they stand for: read from left to right to parse, from right to left to print.
type Words<T> = &'static [(&'static str, T)];

const SWITCHES: Words<bool> = &[("0", false), ("1", true)];
const BOOTS: Words<bool> = &[("direct", false), ("slof", true)];
const VIRTIOS: Words<Virtio> = &[
    ("per-buffer-xen", Virtio::PerBufferXen),
    ("per-queue", Virtio::PerQueue),
    ("per-buffer-arch", Virtio::PerBufferArch),
    ("per-buffer-platform", Virtio::PerBufferPlatform),
    ("per-buffer-flag", Virtio::PerBufferFlag),
    ("per-mapping-quirk", Virtio::PerMappingQuirk),
    ("own-ops", Virtio::OwnOps),
    ("hooked-ops", Virtio::HookedOps),
    ("identity-or-fail", Virtio::IdentityOrFail),
];
const OPSES: Words<Ops> = &[
    ("iommu", Ops::Iommu),
    ("swiotlb", Ops::Swiotlb),
    ("swiotlb-mapped", Ops::SwiotlbMapped),
    ("swiotlb-over-iommu", Ops::SwiotlbOverIommu),
    ("limited-range", Ops::LimitedRange),
    ("restricted-pool", Ops::RestrictedPool),
    ("share-in-place", Ops::ShareInPlace),
    ("data-direct", Ops::DataDirect),
    ("payload-direct", Ops::PayloadDirect),
];
const BITS_33: Words<Bit33> =
    &[("never", Bit33::Never), ("if-offered", Bit33::IfOffered), ("if-secure", Bit33::IfSecure)];
const TCES: Words<Tce> = &[
    ("single", Tce::Single),
    ("indirect", Tce::Indirect),
    ("indirect-unshared", Tce::IndirectUnshared),
];
const BUGS: Words<BugKind> = &[
    ("raw-secure", BugKind::RawSecure),
    ("raw-shared", BugKind::RawShared),
    ("raw-outside", BugKind::RawOutside),
    ("never-unmap", BugKind::NeverUnmap),
    ("read-back", BugKind::ReadBack),
    ("fall-through", BugKind::FallThrough),
];
const SWITCH_MOMENTS: Words<Switch> = &[
    ("before-probe", Switch::BeforeProbe),
    ("after-probe", Switch::AfterProbe),
    ("forgetful", Switch::Forgetful),
];
const KEXECS: Words<Kexec> =
    &[("never", Kexec::Never), ("reset", Kexec::Reset), ("live", Kexec::Live)];
const SLOFS: Words<bool> = &[("today", false), ("tce", true)];
const RING_PLACES: Words<Rings> = &[("together", Rings::Together), ("apart", Rings::Apart)];
const WAITSES: Words<Waits> = &[("polling", Waits::Polling), ("interrupts", Waits::Interrupts)];
const ORDERS: Words<Order> = &[("seq", Order::Sequential), ("random", Order::Random)];
const PLACEMENTS: Words<Placement> = &[
    ("own", Placement::OwnUnit),
    ("nb", Placement::Neighbour),
    ("secret", Placement::BesideSecret),
    ("heap", Placement::Heap),
];
const REFILLS: Words<bool> = &[("keep", false), ("refill", true)];

fn word<T: Copy + PartialEq>(words: Words<T>, value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

fn meaning<T: Copy>(words: Words<T>, word: &str) -> Option<T> {
    words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

impl fmt::Display for BootArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SECURE}={} {BOOT}={}",
            word(SWITCHES, self.secure),
            word(BOOTS, self.boot_disk)
        )?;
        write!(f, " {SEED}={} {}", self.seed, self.kernel)?;
        write!(f, " {TCE}={} {BUG}=", self.tce)?;
        match self.bug {
            Some(Bug { kind, every }) => write!(f, "{kind}x{every}")?,
            None => write!(f, "none")?,
        }
        write!(f, " {SWITCH}={} {KEXEC}={}", self.switch, self.kexec)?;
        write!(f, " {SLOF}={}", word(SLOFS, self.slof_tce))?;
        write!(f, " {SWIOTLB}={} {RINGS}={}", self.swiotlb_bytes, word(RING_PLACES, self.rings))?;
        write!(f, " {WAITS}={} {WAIT}={} {WORK}=", self.waits, self.wait_ns)?;
        for (index, work) in self.work.iter().flatten().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{work}")?;
        }
        Ok(())
    }
}

macro_rules! displayed {
    ($($choice:ty: $words:ident),*) => {$(
        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(word($words, *self))
            }
        }
    )*};
}

displayed! {
    Tce: TCES, BugKind: BUGS, Switch: SWITCH_MOMENTS, Kexec: KEXECS, Waits: WAITSES
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VIRTIO}={} {OPS}={}", word(VIRTIOS, self.virtio), word(OPSES, self.ops))?;
        write!(f, " {BIT_33}={}", word(BITS_33, self.bit_33))?;
        write!(f, " {IDENTITY}={}", word(SWITCHES, self.identity_bit))?;
        write!(f, " {DEMANDS}={}", word(SWITCHES, self.demands_bits))?;
        write!(f, " {QUIRK}={}", word(SWITCHES, self.pokes_quirk))
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { ops, order, placement, refill } => {
                let (order, placement) = (word(ORDERS, *order), word(PLACEMENTS, *placement));
                write!(f, "blk:{order},{placement},{}:", word(REFILLS, *refill))?;
                list(f, ops)
            }
            Self::Net { ops } => {
                write!(f, "net:")?;
                list(f, ops)
            }
            Self::Console { lines } => write!(f, "con:{lines}"),
            Self::Entropy { requests, bytes } => write!(f, "rng:{requests}x{bytes}"),
            Self::Balloon { pages } => write!(f, "bal:{pages}"),
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[Option<T>]) -> fmt::Result {
    for (index, item) in items.iter().flatten().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        write!(f, "{separator}{item}")?;
    }
    Ok(())
}

impl fmt::Display for BlockOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { requests, bytes } => write!(f, "w{requests}x{bytes}"),
            Self::Read { requests, bytes } => write!(f, "r{requests}x{bytes}"),
            Self::ReadBack => write!(f, "b"),
        }
    }
}

impl fmt::Display for NetOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit { frames, bytes } => write!(f, "t{frames}x{bytes}"),
            Self::Echo { frames, bytes } => write!(f, "e{frames}x{bytes}"),
        }
    }
}

impl BootArgs {
    /// Reads what `Display` printed; NULs at the end are padding. Every key must stand there once.
    ///
    /// # Errors
    /// Names the first key whose value is missing or wrong, or that stands there twice.
    pub fn parse(text: &str) -> Result<Self, BadBootArgs> {
        let text = text.trim_end_matches('\0');
        let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        for (key, value) in text.split(' ').filter_map(|word| word.split_once('=')) {
            if let Some(index) = KEYS.iter().position(|known| *known == key)
                && values[index].replace(value).is_some()
            {
                return Err(BadBootArgs { key: KEYS[index] });
            }
        }
        let [secure, boot, seed, virtio, ops, bit_33, identity, demands, quirk, ..] = values;
        let [.., tce, bug, switch, kexec, slof, swiotlb, rings, waits, wait, work] = values;
        Ok(Self {
            secure: take(SECURE, secure, |v| meaning(SWITCHES, v))?,
            boot_disk: take(BOOT, boot, |v| meaning(BOOTS, v))?,
            seed: take(SEED, seed, number)?,
            kernel: Kernel {
                virtio: take(VIRTIO, virtio, |v| meaning(VIRTIOS, v))?,
                ops: take(OPS, ops, |v| meaning(OPSES, v))?,
                bit_33: take(BIT_33, bit_33, |v| meaning(BITS_33, v))?,
                identity_bit: take(IDENTITY, identity, |v| meaning(SWITCHES, v))?,
                demands_bits: take(DEMANDS, demands, |v| meaning(SWITCHES, v))?,
                pokes_quirk: take(QUIRK, quirk, |v| meaning(SWITCHES, v))?,
            },
            tce: take(TCE, tce, |v| meaning(TCES, v))?,
            bug: take(BUG, bug, parse_bug)?,
            switch: take(SWITCH, switch, |v| meaning(SWITCH_MOMENTS, v))?,
            kexec: take(KEXEC, kexec, |v| meaning(KEXECS, v))?,
            slof_tce: take(SLOF, slof, |v| meaning(SLOFS, v))?,
            swiotlb_bytes: take(SWIOTLB, swiotlb, number)?,
            rings: take(RINGS, rings, |v| meaning(RING_PLACES, v))?,
            waits: take(WAITS, waits, |v| meaning(WAITSES, v))?,
            wait_ns: take(WAIT, wait, number)?,
            work: take(WORK, work, |v| items(v, ';', parse_work))?,
        })
    }
}

fn take<T>(
    key: &'static str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, BadBootArgs> {
    value.and_then(parse).ok_or(BadBootArgs { key })
}

/// `none`, or the kind and how often.
fn parse_bug(text: &str) -> Option<Option<Bug>> {
    if text == "none" {
        return Some(None);
    }
    let (kind, every) = split(text, 'x')?;
    let every = number(every).filter(|every| *every > 0)?;
    Some(Some(Bug { kind: meaning(BUGS, kind)?, every }))
}

/// At most `N` items, each read by `parse`; an empty text has none.
fn items<T: Copy, const N: usize>(
    text: &str,
    separator: char,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<[Option<T>; N]> {
    let mut out = [None; N];
    if text.is_empty() {
        return Some(out);
    }
    let mut places = out.iter_mut();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (item, others) = split(text, separator).unzip();
        *places.next()? = Some(parse(item.unwrap_or(text))?);
        rest = others;
    }
    Some(out)
}

fn parse_work(text: &str) -> Option<Work> {
    let (kind, rest) = split(text, ':')?;
    match kind {
        "blk" => {
            let (how, ops) = split(rest, ':')?;
            let (order, how) = split(how, ',')?;
            let (placement, refill) = split(how, ',')?;
            Some(Work::Block {
                ops: items::<_, OPS_MAX>(ops, ',', parse_block_op)?,
                order: meaning(ORDERS, order)?,
                placement: meaning(PLACEMENTS, placement)?,
                refill: meaning(REFILLS, refill)?,
            })
        }
        "net" => Some(Work::Net { ops: items::<_, OPS_MAX>(rest, ',', parse_net_op)? }),
        "con" => Some(Work::Console { lines: number(rest)? }),
        "bal" => Some(Work::Balloon { pages: number(rest)? }),
        "rng" => {
            let (requests, bytes) = count_by_bytes(rest)?;
            let fits = (1..=ENTROPY_BYTES_MAX).contains(&bytes);
            fits.then_some(Work::Entropy { requests, bytes })
        }
        _ => None,
    }
}

fn parse_block_op(text: &str) -> Option<BlockOp> {
    if text == "b" {
        return Some(BlockOp::ReadBack);
    }
    let (kind, rest) = text.split_at_checked(1)?;
    let (requests, bytes) = count_by_bytes(rest)?;
    if bytes == 0 || u64::from(bytes) % SECTOR_BYTES != 0 {
        return None;
    }
    match kind {
        "w" => Some(BlockOp::Write { requests, bytes }),
        "r" => Some(BlockOp::Read { requests, bytes }),
        _ => None,
    }
}

fn parse_net_op(text: &str) -> Option<NetOp> {
    let (kind, rest) = text.split_at_checked(1)?;
    let (frames, bytes) = count_by_bytes(rest)?;
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes) {
        return None;
    }
    match kind {
        "t" => Some(NetOp::Transmit { frames, bytes }),
        "e" => Some(NetOp::Echo { frames, bytes }),
        _ => None,
    }
}

fn count_by_bytes(text: &str) -> Option<(u32, u32)> {
    let (count, bytes) = split(text, 'x')?;
    Some((number(count)?, number(bytes)?))
}

/// What stands before the first `separator`, and after it.
#[inline(never)] // once for all, as the next: the image is to stay small
fn split(text: &str, separator: char) -> Option<(&str, &str)> {
    text.split_once(separator)
}

fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    large_number(text)?.try_into().ok()
}

#[inline(never)]
fn large_number(text: &str) -> Option<u64> {
    text.parse().ok()
}
