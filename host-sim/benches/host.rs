//! What the host side costs in host time: reads through the window against plain mapped memory
//! (events recorded), and one block request from the guest's driver to its completion.

use criterion::measurement::{Measurement, WallTime};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use host_sim::cost;
use host_sim::event::{DeviceIndex, Part, QueueIndex};
use host_sim::host::HostSide;
use host_sim::hypervisor::Hypervisor;
use host_sim::loader;
use host_sim::recorder::Recorder;
use host_sim::run;
use host_sim::scenario::limits::Limits;
use host_sim::scenario::plan::{CostProfile, Plan, Platform};
use host_sim::scenario::select;
use host_sim::window::Window;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;
use ultravisor::Ultravisor;
use ultravisor::platform::{self, Config, OnTamper};
use ultravisor_abi::{CallRegs, DmaAddr, Ucall, UnitSize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MEMORY: u64 = 64 << 20;
const UNIT: UnitSize = UnitSize::KIB_64;
/// First shared unit.
const SHARED: u64 = 0x100;
/// Reads on one host, so that its log does not fill up.
const READS: usize = 1000;

/// A secure guest with 16 shared units.
fn host() -> HostSide {
    let ram = loader::ram(MEMORY);
    let mut uv = Ultravisor::new(Config {
        platform: platform::Platform::Pef,
        unit: UNIT,
        ram: ram.clone(),
        seed: 1,
        on_tamper: OnTamper::Refault,
        secure_bytes: MEMORY,
        backed_bytes_max: 1 << 30,
    })
    .expect("64 MiB can be mapped");
    let recorder =
        Recorder::new(cost::table(Platform::Pef, CostProfile::Firmware), UNIT, Limits::default());
    let mut hv = Hypervisor::new(ram, UNIT, recorder);
    let calls = [(Ucall::Esm, [0x10_0000, 0x1_0000]), (Ucall::SharePage, [SHARED, 16])];
    for (call, [first, second]) in calls {
        let regs = CallRegs { number: call.number(), args: [first, second, 0, 0, 0, 0] };
        assert_eq!(uv.guest_call(&mut hv, regs).code(), 0);
        hv.absorb(&mut uv);
    }
    HostSide::new(hv, uv, true)
}

fn window_reads(c: &mut Criterion) {
    let plain = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY as usize)])
        .expect("64 MiB can be mapped");
    let start = SHARED * UNIT.bytes();
    for bytes in [4096, 65536] {
        let mut group = c.benchmark_group(format!("read-{bytes}"));
        group.throughput(Throughput::Bytes((bytes * READS) as u64));
        let mut out = vec![0; bytes];
        let warm = vec![1; bytes];
        plain.write_slice(&warm, GuestAddress(start)).expect("it is mapped");
        group.bench_function("mmap", |b| {
            b.iter(|| {
                for _ in 0..READS {
                    plain.read_slice(black_box(&mut out), GuestAddress(start)).expect("mapped");
                }
            });
        });
        group.bench_function("window", |b| {
            let read = |host: &mut HostSide| {
                let window = Window::new(host, DeviceIndex(0), None);
                let pane = window.pane(QueueIndex(0), Part::Data);
                for _ in 0..READS {
                    pane.read_exact(DmaAddr(start), black_box(&mut out)).expect("it is shared");
                }
            };
            b.iter_batched_ref(host, read, BatchSize::PerIteration);
        });
        group.finish();
    }
}

/// The plan of `basics/secure-swiotlb` with so many writes of 4 KiB. The buffer is filled once: what
/// is measured is the way from the driver to its completion, not the making of patterns.
fn swiotlb(requests: u32) -> Plan {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/basics"));
    let selection = select::select(&[folder], 1).unwrap_or_else(|_| panic!("basics are right"));
    let wanted =
        |plan: &Plan| plan.scenario == "basics/secure-swiotlb" && plan.machine.unit == UNIT;
    let planned = selection.runs.into_iter().find(|planned| wanted(&planned.plan));
    let mut plan = planned.expect("it is shipped").plan;
    for work in &mut plan.work {
        if let firmware::workload::Work::Block { ops, refill, .. } = work {
            *ops = Default::default();
            ops[0] = Some(firmware::workload::BlockOp::Write { requests, bytes: 4096 });
            *refill = false;
        }
    }
    plan
}

/// Requests after which the search for slots has gone round the pool of 8 MiB: each takes 10 KiB.
const ROUND: u32 = 1100;
/// Requests that are measured.
const MEASURED: u32 = 1000;

/// A plan of so many requests, on a disk that holds them.
fn block_plan(requests: u32) -> Plan {
    let mut plan = swiotlb(requests);
    if let host_sim::scenario::plan::DeviceKind::Blk { sectors, .. } = &mut plan.devices[1].kind {
        *sectors = 32768;
    }
    plan
}

/// How long a run takes.
fn time_of(plan: &Plan) -> Duration {
    let start = WallTime.start();
    let log = run::run(black_box(plan)).expect("it runs");
    assert_eq!(log.ended, host_sim::event::Ended::Exit(0));
    WallTime.end(start)
}

/// 1,000 requests of the steady state: what a run takes longer than one that is so much shorter,
/// in which the search has been to every slot of the pool, so that the operating system has backed
/// them.
fn block_requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("block-requests-of-4-KiB");
    group.sample_size(20);
    group.throughput(Throughput::Elements(MEASURED.into()));
    let (shorter, longer) = (block_plan(ROUND), block_plan(ROUND + MEASURED));
    group.bench_function("1000", |b| {
        b.iter_custom(|times| {
            (0..times).map(|_| time_of(&longer).saturating_sub(time_of(&shorter))).sum()
        });
    });
    group.finish();
}

criterion_group!(benches, window_reads, block_requests);
criterion_main!(benches);
