//! What the host prints, the guest reads: over many values, the longest included.

use firmware::bootargs::{BadBootArgs, BootArgs, Rings, Waits};
use firmware::kernel::{Bit33, Bug, BugKind, Kernel, Kexec, Ops, Switch, Tce, Virtio};
use firmware::pattern::mix;
use firmware::workload::{BlockOp, NetOp, OPS_MAX, Order, Placement, WORK_MAX, Work};
use ultravisor_abi::boot::BOOTARGS_BYTES;

/// A stream of drawn numbers.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn number(&mut self) -> u32 {
        let bits = self.below(33) as u32;
        (self.below(1 << bits)) as u32
    }

    fn block_op(&mut self) -> BlockOp {
        let (requests, bytes) = (self.number(), (self.below(8_388_607) as u32 + 1) * 512);
        self.of(&[
            BlockOp::Write { requests, bytes },
            BlockOp::Read { requests, bytes },
            BlockOp::ReadBack,
        ])
    }

    fn net_op(&mut self) -> NetOp {
        let (frames, bytes) = (self.number(), 60 + self.below(1455) as u32);
        self.of(&[NetOp::Transmit { frames, bytes }, NetOp::Echo { frames, bytes }])
    }

    fn list<T: Copy, const N: usize>(&mut self, item: fn(&mut Self) -> T) -> [Option<T>; N] {
        let count = self.below(N as u64 + 1) as usize;
        core::array::from_fn(|index| (index < count).then(|| item(self)))
    }

    fn work(&mut self) -> Work {
        match self.below(5) {
            0 => Work::Block {
                ops: self.list::<_, OPS_MAX>(Self::block_op),
                order: self.of(&[Order::Sequential, Order::Random]),
                placement: self.of(&[
                    Placement::OwnUnit,
                    Placement::Neighbour,
                    Placement::BesideSecret,
                    Placement::Heap,
                ]),
                refill: self.of(&[false, true]),
            },
            1 => Work::Net { ops: self.list::<_, OPS_MAX>(Self::net_op) },
            2 => Work::Console { lines: self.number() },
            3 => Work::Balloon { pages: self.number() },
            _ => Work::Entropy { requests: self.number(), bytes: 1 + self.below(4096) as u32 },
        }
    }

    fn kernel(&mut self) -> Kernel {
        Kernel {
            virtio: self.of(&[
                Virtio::PerBufferXen,
                Virtio::PerQueue,
                Virtio::PerBufferArch,
                Virtio::PerBufferPlatform,
                Virtio::PerBufferFlag,
                Virtio::PerMappingQuirk,
                Virtio::OwnOps,
                Virtio::HookedOps,
                Virtio::IdentityOrFail,
            ]),
            ops: self.of(&[
                Ops::Iommu,
                Ops::Swiotlb,
                Ops::SwiotlbMapped,
                Ops::SwiotlbOverIommu,
                Ops::LimitedRange,
                Ops::RestrictedPool,
                Ops::ShareInPlace,
                Ops::DataDirect,
                Ops::PayloadDirect,
            ]),
            bit_33: self.of(&[Bit33::Never, Bit33::IfOffered, Bit33::IfSecure]),
            identity_bit: self.of(&[false, true]),
            demands_bits: self.of(&[false, true]),
            pokes_quirk: self.of(&[false, true]),
        }
    }

    fn bug(&mut self) -> Option<Bug> {
        let every = self.number().max(1);
        let kinds = [
            BugKind::RawSecure,
            BugKind::RawShared,
            BugKind::RawOutside,
            BugKind::NeverUnmap,
            BugKind::ReadBack,
            BugKind::FallThrough,
        ];
        let bug = Bug { kind: self.of(&kinds), every };
        self.of(&[None, Some(bug)])
    }

    fn boot_args(&mut self) -> BootArgs {
        BootArgs {
            secure: self.of(&[false, true]),
            boot_disk: self.of(&[false, true]),
            seed: self.below(u64::MAX),
            kernel: self.kernel(),
            tce: self.of(&[Tce::Single, Tce::Indirect, Tce::IndirectUnshared]),
            bug: self.bug(),
            switch: self.of(&[Switch::BeforeProbe, Switch::AfterProbe, Switch::Forgetful]),
            kexec: self.of(&[Kexec::Never, Kexec::Reset, Kexec::Live]),
            slof_tce: self.of(&[false, true]),
            swiotlb_bytes: self.below(1 << 30) * (256 << 10),
            rings: self.of(&[Rings::Together, Rings::Apart]),
            waits: self.of(&[Waits::Polling, Waits::Interrupts]),
            work: self.list::<_, WORK_MAX>(Self::work),
            wait_ns: self.below(u64::MAX),
        }
    }
}

fn longest() -> BootArgs {
    let op = BlockOp::Write { requests: u32::MAX, bytes: u32::MAX - 511 };
    let work = Work::Block {
        ops: [Some(op); OPS_MAX],
        order: Order::Random,
        placement: Placement::Heap,
        refill: true,
    };
    BootArgs {
        secure: true,
        boot_disk: false,
        seed: u64::MAX,
        kernel: Kernel { virtio: Virtio::PerBufferPlatform, ..Kernel::LINUX_2018 },
        tce: Tce::IndirectUnshared,
        bug: Some(Bug { kind: BugKind::RawOutside, every: u32::MAX }),
        switch: Switch::BeforeProbe,
        kexec: Kexec::Never,
        slof_tce: false,
        swiotlb_bytes: u64::MAX,
        rings: Rings::Together,
        waits: Waits::Interrupts,
        work: [Some(work); WORK_MAX],
        wait_ns: u64::MAX,
    }
}

#[test]
fn what_is_printed_is_read_back_and_fits() {
    let mut draw = Draw(1);
    for _ in 0..20_000 {
        let args = draw.boot_args();
        let text = args.to_string();
        assert!(text.len() < BOOTARGS_BYTES, "{} bytes: {text}", text.len());
        assert_eq!(BootArgs::parse(&text), Ok(args), "{text}");
    }
}

#[test]
fn the_longest_fits_with_its_terminator() {
    let text = longest().to_string();
    assert!(text.len() < BOOTARGS_BYTES, "{} bytes", text.len());
    assert_eq!(BootArgs::parse(&text), Ok(longest()));
}

#[test]
fn padding_and_words_of_others_are_skipped() {
    let text = format!("quiet console=hvc0 {}\0\0\0", longest());
    assert_eq!(BootArgs::parse(&text), Ok(longest()));
}

#[test]
fn a_missing_a_doubled_and_a_wrong_value_are_named() {
    let text = longest().to_string();
    let broken = [
        (text.replace("uvsim.seed=", "other.seed="), "uvsim.seed"),
        (format!("{text} uvsim.ops=iommu"), "uvsim.ops"),
        (text.replace("bug=raw-outside", "bug=none"), "uvsim.bug"),
        (text.replace("rings=together", "rings=nowhere"), "uvsim.rings"),
        (text.replace("waits=interrupts", "waits=signals"), "uvsim.waits"),
        (text.replace("blk:", "tape:"), "uvsim.work"),
        (text.replace("w4294967295x4294966784", "w1x513"), "uvsim.work"),
        (format!("{text};con:1"), "uvsim.work"),
    ];
    for (text, key) in broken {
        assert_eq!(BootArgs::parse(&text), Err(BadBootArgs { key }), "{text}");
    }
}

#[test]
fn no_mutilated_text_panics() {
    let text = longest().to_string();
    for end in 0..text.len() {
        let _ = BootArgs::parse(&text[..end]);
        let _ = BootArgs::parse(&text[end..]);
    }
}
