//! What page protection costs: a round trip of one unit against the bare cipher, and a partition
//! of 1 TiB of which little is touched. `cargo bench -p ultravisor`
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::disallowed_types, reason = "a bench measures wall time")]

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use ultravisor::frames::NORMAL_BASE;
use ultravisor::platform::{Config, OnTamper, Platform, RamRange};
use ultravisor::{Hypervisor, LPID, PageState, Ultravisor};
use ultravisor_abi::{CallRegs, Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

const MIB: u64 = 1 << 20;

/// A hypervisor that grants everything.
struct Willing {
    ram: RamRange,
    unit: UnitSize,
}

impl Hypervisor for Willing {
    fn hcall(&mut self, uv: &mut Ultravisor, call: Hcall, args: [u64; 6]) -> HStatus {
        let status = if call == Hcall::SvmInitStart {
            let slot = [LPID, self.ram.start.0, self.ram.bytes, 0, 0, 0];
            uv.host_call(Ucall::RegisterMemSlot, slot)
        } else if call == Hcall::SvmPageIn {
            uv.host_call(Ucall::PageIn, page(self.unit, self.unit.gfn(Gpa(args[0]))))
        } else {
            UStatus::Success
        };
        if status == UStatus::Success { HStatus::Success } else { HStatus::Parameter }
    }

    fn page_fault(&mut self, _: &mut Ultravisor, _: Gpa) -> Result<(), HStatus> {
        Ok(())
    }
}

fn page(unit: UnitSize, gfn: Gfn) -> [u64; 6] {
    let gpa = unit.start(gfn).0;
    [LPID, NORMAL_BASE + gpa, gpa, 0, unit.order().into(), 0]
}

fn open(bytes: u64, unit: UnitSize) -> (Ultravisor, Willing) {
    let ram = RamRange { start: Gpa(0), bytes };
    let config = Config {
        platform: Platform::Pef,
        unit,
        ram: vec![ram],
        seed: 1,
        on_tamper: OnTamper::Refault,
        secure_bytes: u64::MAX,
        backed_bytes_max: 1 << 30,
    };
    (Ultravisor::new(config).expect("two sparse mappings"), Willing { ram, unit })
}

/// The guest, or its loader, writes one page of a unit.
fn write(uv: &mut Ultravisor, gfn: Gfn) {
    let at = uv.memory().unit().start(gfn);
    uv.memory_mut().note_write(gfn);
    assert!(uv.memory().normal().write(at, &gfn.0.to_le_bytes().repeat(512)));
}

fn become_secure(uv: &mut Ultravisor, hv: &mut Willing) {
    let regs = CallRegs { number: Ucall::Esm.number(), args: [1, 1, 0, 0, 0, 0] };
    assert_eq!(uv.guest_call(hv, regs), UStatus::Success);
    uv.take_events();
}

/// A secure guest with one written unit, ready to make round trips.
struct RoundTrip {
    uv: Ultravisor,
    args: [u64; 6],
}

impl RoundTrip {
    fn new(unit: UnitSize) -> Self {
        let (mut uv, mut hv) = open(64 * MIB, unit);
        write(&mut uv, Gfn(5));
        become_secure(&mut uv, &mut hv);
        Self { uv, args: page(unit, Gfn(5)) }
    }

    /// Page-out and page-in of the unit, with their events.
    fn go(&mut self) {
        assert_eq!(self.uv.host_call(Ucall::PageOut, self.args), UStatus::Success);
        assert_eq!(self.uv.host_call(Ucall::PageIn, self.args), UStatus::Success);
        black_box(self.uv.take_events());
    }
}

/// The cipher alone on as many bytes: encrypt into another buffer, verify and decrypt back.
struct Bare {
    cipher: Aes128Gcm,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    counter: u64,
}

impl Bare {
    fn new(bytes: u64) -> Self {
        let cipher = Aes128Gcm::new(&[7; 16].into());
        let plain = 5u64.to_le_bytes().repeat(bytes as usize / 8);
        Self { cipher, sealed: vec![0; plain.len()], plain, counter: 0 }
    }

    fn go(&mut self) {
        self.counter += 1;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        let nonce = Nonce::from(nonce);
        let aad = [0; 24];
        let out = InOutBuf::new(&self.plain, &mut self.sealed).expect("equal lengths");
        let tag = self.cipher.encrypt_inout_detached(&nonce, &aad, out).expect("short enough");
        let back = InOutBuf::new(&self.sealed, &mut self.plain).expect("equal lengths");
        let verified = self.cipher.decrypt_inout_detached(&nonce, &aad, back, &tag);
        verified.expect("nobody wrote there");
        black_box(&mut self.plain);
    }
}

fn time(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..10 {
        work();
    }
    start.elapsed() / 10
}

/// Both in one run and by turns, in slices so short that some are left alone even on a busy
/// machine: the ratio of the best.
fn print_ratio(unit: UnitSize) {
    let (mut trip, mut bare) = (RoundTrip::new(unit), Bare::new(unit.bytes()));
    let (mut ours, mut cipher) = (Duration::MAX, Duration::MAX);
    for _ in 0..500 {
        ours = ours.min(time(|| trip.go()));
        cipher = cipher.min(time(|| bare.go()));
    }
    println!(
        "page-out + page-in of {} KiB: {ours:?}, bare cipher {cipher:?}, ratio {:.2} (reach 1.5)",
        unit.bytes() >> 10,
        ours.as_secs_f64() / cipher.as_secs_f64()
    );
}

fn round_trip(c: &mut Criterion) {
    for (name, unit) in [("64KiB", UnitSize::KIB_64), ("4KiB", UnitSize::KIB_4)] {
        let mut group = c.benchmark_group(format!("round-trip/{name}"));
        group.throughput(Throughput::Bytes(unit.bytes()));
        let mut bare = Bare::new(unit.bytes());
        group.bench_function("bare-cipher", |b| b.iter(|| bare.go()));
        let mut trip = RoundTrip::new(unit);
        group.bench_function("page-out-and-in", |b| b.iter(|| trip.go()));
        group.finish();
        print_ratio(unit);
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// 1,000 units all over the partition: multiples of an odd number, so no two are the same.
fn scattered(bytes: u64, unit: UnitSize) -> impl Iterator<Item = Gfn> {
    let units = bytes / unit.bytes();
    (0..1000).map(move |i| Gfn((i * 0x9e37_79b1) % units))
}

/// Opens 1 TiB, writes 1,000 units, makes the VM secure and takes each out and in again.
fn open_and_touch(unit: UnitSize) -> (Ultravisor, Duration, Duration) {
    let bytes = 1 << 40;
    let start = Instant::now();
    let (mut uv, mut hv) = open(bytes, unit);
    scattered(bytes, unit).for_each(|gfn| write(&mut uv, gfn));
    let opened = start.elapsed();
    become_secure(&mut uv, &mut hv);
    for gfn in scattered(bytes, unit) {
        assert_eq!(uv.host_call(Ucall::PageOut, page(unit, gfn)), UStatus::Success);
        assert_eq!(uv.host_call(Ucall::PageIn, page(unit, gfn)), UStatus::Success);
        assert_eq!(uv.memory().state(gfn), PageState::Secure);
    }
    uv.take_events();
    (uv, opened, start.elapsed())
}

fn terabyte(c: &mut Criterion) {
    for (name, unit) in [("64KiB", UnitSize::KIB_64), ("4KiB", UnitSize::KIB_4)] {
        let before = resident();
        let (uv, opened, all) = open_and_touch(unit);
        let mib = resident().saturating_sub(before) / MIB;
        drop(uv);
        println!(
            "1 TiB in units of {name}: opened and 1,000 units written {opened:?} (reach 500 ms), \
             with UV_ESM and a round trip of each {all:?}, {mib} MiB resident (reach 256)"
        );
        let mut group = c.benchmark_group("terabyte");
        group.sample_size(10);
        group.bench_function(name, |b| b.iter(|| open_and_touch(unit)));
        group.finish();
    }
}

criterion_group!(benches, terabyte, round_trip);
criterion_main!(benches);
