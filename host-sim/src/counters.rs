//! One fold over the log: every counter, split by phase, and the table of touches.

use crate::event::{Cause, DeviceIndex, Direction, Event, Mark, Part, QueueIndex, Record};
use std::collections::BTreeMap;
use ultravisor::{Effect, PageOp, PageState};
use ultravisor_abi::ucall::Caller;

/// Where in a run something counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before the guest's "ready" mark.
    Init,
    /// From "ready" to "done".
    Steady,
    /// After "done".
    After,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Init, Self::Steady, Self::After];

    /// The name used in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Steady => "steady",
            Self::After => "after",
        }
    }
}

macro_rules! counters {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// A counter. In files and reports it has its dotted name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Counter {
            $(#[doc = $doc] $variant,)*
        }

        impl Counter {
            /// Every counter, in the order of the outputs.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it counts, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

counters! {
    UvShare = "uv.share", "Units that the guest gave up to the host.";
    UvUnshare = "uv.unshare", "Units that the guest took back.";
    UvPageOut = "uv.page_out", "Units sealed.";
    UvPageIn = "uv.page_in", "Units unsealed.";
    UvTakeIn = "uv.take_in", "Units copied and measured during UV_ESM.";
    UvMapShared = "uv.map_shared", "Shared units that the host mapped by UV_PAGE_IN.";
    RoundTrips = "round_trips", "Page-outs caused by a touch, each with its page-in.";
    RoundTripsDesc = "round_trips.desc", "Of these, by a touch of a descriptor table.";
    RoundTripsAvail = "round_trips.avail", "Of these, by a touch of an available ring.";
    RoundTripsUsed = "round_trips.used", "Of these, by a touch of a used ring.";
    RoundTripsIndirect = "round_trips.indirect", "Of these, by a touch of an indirect table.";
    RoundTripsHeader = "round_trips.header", "Of these, by a touch of a request's header.";
    RoundTripsData = "round_trips.data", "Of these, by a touch of a request's data.";
    RoundTripsStatus = "round_trips.status", "Of these, by a touch of a status byte.";
    RoundTripsHypercall = "round_trips.hypercall", "Of these, by the hypervisor for a call.";
    OneWay = "page_out.one_way", "Page-outs caused by a touch whose unit never came back in.";
    TouchSecure = "touch.secure", "Touches by the host side of units that were secure.";
    TouchShared = "touch.shared", "Touches of units that were shared.";
    TouchPagedOut = "touch.paged_out", "Touches of units that were sealed already.";
    TouchNormal = "touch.normal", "Touches of a normal VM's units.";
    SealBytes = "seal.bytes", "Bytes sealed, without tags.";
    UnsealBytes = "unseal.bytes", "Bytes unsealed, without tags.";
    ZeroBytes = "zero.bytes", "Bytes zeroed by the ultravisor.";
    UvCalls = "uv.calls", "Ultracalls of the guest.";
    HvCalls = "hv.calls", "Hypercalls that the hypervisor saw, reflections included.";
    Exits = "exits", "Returns to the hypervisor.";
    Interrupts = "interrupts", "Interrupts that the guest took.";
    Wakes = "wakes", "Times that the guest had halted and an interrupt woke it.";
    Kicks = "kicks", "QueueNotify writes.";
    Requests = "requests", "Chains put into used rings of data queues.";
    BounceCopies = "bounce.copies", "Copies between private buffers and swiotlb slots.";
    BounceBytes = "bounce.bytes", "Bytes of those copies.";
    DmaMaps = "dma.maps", "Buffers mapped for a device.";
    DmaUnmaps = "dma.unmaps", "Buffers unmapped.";
    DmaDecisions = "dma.decisions", "Runs of the which-DMA-path predicate.";
    DmaInstructions = "dma.instructions", "Instructions in deciding, mapping and unmapping.";
    DmaForeign = "dma.foreign", "Addresses given to a device that the DMA API did not make.";
    BalloonInflated = "balloon.inflated", "4 KiB pages given to the balloon.";
    BalloonDeflated = "balloon.deflated", "4 KiB pages taken back from the balloon.";
    BalloonReclaimed = "balloon.reclaimed_bytes", "Bytes that the host got back.";
    VhostIotlbHits = "vhost.iotlb_hits", "Translations that a vhost back end knew.";
    VhostIotlbMisses = "vhost.iotlb_misses", "Translations that it had to ask QEMU for.";
    GuestInstructions = "guest.instructions", "Instructions retired (a whole REP is one).";
    GuestWaitUnits = "guest.wait_units", "Work units (a nanosecond each) that the guest waited instead.";
    TimeNs = "time.ns", "Virtual time in nanoseconds.";
}

impl Counter {
    /// The counter of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|counter| counter.name() == name)
    }

    /// The part of [`Counter::RoundTrips`] that `part` caused.
    pub const fn round_trips_by(part: Part) -> Self {
        match part {
            Part::Desc => Self::RoundTripsDesc,
            Part::Avail => Self::RoundTripsAvail,
            Part::Used => Self::RoundTripsUsed,
            Part::Indirect => Self::RoundTripsIndirect,
            Part::Header => Self::RoundTripsHeader,
            Part::Data => Self::RoundTripsData,
            Part::Status => Self::RoundTripsStatus,
            Part::Hypercall => Self::RoundTripsHypercall,
        }
    }

    /// The counter of touches that found this state. Units in transit count by who has the bytes.
    pub const fn touch_of(state: PageState) -> Self {
        match state {
            PageState::Normal => Self::TouchNormal,
            PageState::PagedOut => Self::TouchPagedOut,
            PageState::Secure | PageState::HvSharing | PageState::HvUnshared => Self::TouchSecure,
            PageState::Shared
            | PageState::SharedInv
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv => Self::TouchShared,
        }
    }
}

/// Which touches one row of the table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TouchKey {
    /// By which device; `None`: the hypervisor.
    pub device: Option<DeviceIndex>,
    /// Of which queue.
    pub queue: Option<QueueIndex>,
    /// Doing what.
    pub part: Part,
    /// Of a unit in which state.
    pub state: PageState,
    /// Which way.
    pub direction: Direction,
}

/// How many touches, and of how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Touches.
    pub count: u64,
    /// Bytes touched.
    pub bytes: u64,
}

/// The phase a fold is in: every fold that splits by phase follows the marks with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseClock {
    marks: bool,
    phase: Phase,
    ready: bool,
}

impl PhaseClock {
    /// Before the first record; `marks` says whether the guest marks ready and done.
    pub fn new(marks: bool) -> Self {
        let phase = if marks { Phase::Init } else { Phase::Steady };
        Self { marks, phase, ready: !marks }
    }

    /// Follows one record. A mark itself belongs to the phase that it ends.
    pub fn follow(&mut self, event: &Event) {
        let Event::Mark { mark } = event else { return };
        match (mark, self.phase) {
            (Mark::Ready, Phase::Init) => (self.phase, self.ready) = (Phase::Steady, true),
            (Mark::Done, Phase::Steady) if self.marks => self.phase = Phase::After,
            (
                Mark::Ready | Mark::Done | Mark::Label(_),
                Phase::Init | Phase::Steady | Phase::After,
            ) => (),
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the steady state was reached.
    pub fn steady_reached(&self) -> bool {
        self.ready
    }

    /// Whether a guest that uses marks has marked "done"; true for one that does not.
    pub fn done(&self) -> bool {
        !self.marks || self.phase == Phase::After
    }
}

/// Why a unit is out, if a touch caused it, and since when.
#[derive(Clone, Copy, Debug)]
struct Out {
    part: Part,
    since: Phase,
}

/// All counters of a run.
#[derive(Clone, Debug)]
pub struct Counters {
    values: BTreeMap<(Phase, Counter), u64>,
    touches: BTreeMap<(TouchKey, Phase), Tally>,
    out: BTreeMap<u64, Out>,
    clock: PhaseClock,
    t_ns: u64,
    /// What the last record counted, if somebody wants to know.
    counted: Option<Vec<(Phase, Counter)>>,
}

impl Counters {
    /// Counts a whole log. `marks` says whether the guest marks ready and done.
    pub fn of(records: &[Record], marks: bool) -> Self {
        let mut counters = Self::new(marks);
        records.iter().for_each(|record| counters.count(record));
        counters.finish();
        counters
    }

    /// As [`Counters::of`], telling which record counts in which phase as what. What only the end
    /// shows (`page_out.one_way`) is counted and not told.
    pub fn of_with(
        records: &[Record],
        marks: bool,
        tell: &mut dyn FnMut(u64, Phase, Counter),
    ) -> Self {
        let mut counters = Self::new(marks);
        counters.counted = Some(Vec::new());
        for record in records {
            counters.count(record);
            for (phase, counter) in counters.counted.iter_mut().flat_map(|told| told.drain(..)) {
                tell(record.seq, phase, counter);
            }
        }
        counters.counted = None;
        counters.finish();
        counters
    }

    /// Nothing counted yet. `marks` says whether the guest marks ready and done.
    pub fn new(marks: bool) -> Self {
        Self {
            values: BTreeMap::new(),
            touches: BTreeMap::new(),
            out: BTreeMap::new(),
            clock: PhaseClock::new(marks),
            t_ns: 0,
            counted: None,
        }
    }

    /// The value in one phase.
    pub fn get(&self, counter: Counter, phase: Phase) -> u64 {
        self.values.get(&(phase, counter)).copied().unwrap_or(0)
    }

    /// The value over several phases.
    pub fn sum(&self, counter: Counter, phases: &[Phase]) -> u64 {
        phases.iter().map(|phase| self.get(counter, *phase)).sum()
    }

    /// Share, unshare, page-out and page-in.
    pub const CONVERSIONS: [Counter; 4] =
        [Counter::UvShare, Counter::UvUnshare, Counter::UvPageOut, Counter::UvPageIn];

    /// All conversions together.
    pub fn conversions(&self, phases: &[Phase]) -> u64 {
        Self::CONVERSIONS.into_iter().map(|counter| self.sum(counter, phases)).sum()
    }

    /// Whether the steady state was reached.
    pub fn steady_reached(&self) -> bool {
        self.clock.steady_reached()
    }

    /// Whether the guest came to its "done" (true for one that does not mark).
    pub fn done(&self) -> bool {
        self.clock.done()
    }

    /// Every row of the table of touches, split by phase.
    pub fn touches(&self) -> impl Iterator<Item = (&TouchKey, Phase, Tally)> {
        self.touches.iter().map(|((key, phase), tally)| (key, *phase, *tally))
    }

    fn add(&mut self, counter: Counter, by: u64) {
        self.add_in(self.clock.phase(), counter, by);
    }

    fn add_in(&mut self, phase: Phase, counter: Counter, by: u64) {
        if by > 0 {
            let value = self.values.entry((phase, counter)).or_insert(0);
            *value = value.saturating_add(by);
            if let Some(counted) = &mut self.counted {
                counted.push((phase, counter));
            }
        }
    }

    /// The fold: counts the next record. Until the last one nothing counts as one way.
    pub fn count(&mut self, record: &Record) {
        use Counter as C;
        self.add(C::TimeNs, record.t_ns.saturating_sub(self.t_ns));
        self.t_ns = self.t_ns.max(record.t_ns);
        match &record.event {
            Event::Exit { .. } => self.add(C::Exits, 1),
            Event::UvCall { caller, .. } => match caller {
                Caller::NormalGuest | Caller::SecureGuest => self.add(C::UvCalls, 1),
                Caller::Hypervisor => (),
            },
            Event::HvCall { .. } => self.add(C::HvCalls, 1),
            Event::Page { gfn, op, effect, bytes, cause, .. } => {
                self.count_page(*gfn, *op, *effect, *cause);
                self.count_page_bytes(*effect, *bytes);
            }
            Event::Touch { .. } => self.count_touch(&record.event),
            Event::Taken { .. } => self.add(C::Interrupts, 1),
            Event::Woken { .. } => self.add(C::Wakes, 1),
            Event::Kick { .. } => self.add(C::Kicks, 1),
            Event::Completed { data, .. } => self.add(C::Requests, u64::from(*data)),
            Event::Wait { ns, .. } => self.add(C::GuestWaitUnits, *ns),
            Event::Mark { .. } => self.clock.follow(&record.event),
            Event::Retired { instructions, .. } => self.add(C::GuestInstructions, *instructions),
            Event::Decision { instructions, .. } => {
                self.add(C::DmaDecisions, 1);
                self.add(C::DmaInstructions, *instructions);
            }
            Event::DmaMap { instructions, .. } => {
                self.add(C::DmaMaps, 1);
                self.add(C::DmaInstructions, *instructions);
            }
            Event::DmaUnmap { instructions, .. } => {
                self.add(C::DmaUnmaps, 1);
                self.add(C::DmaInstructions, *instructions);
            }
            Event::Bounce { bytes, .. } => {
                self.add(C::BounceCopies, 1);
                self.add(C::BounceBytes, *bytes);
            }
            Event::Foreign { .. } => self.add(C::DmaForeign, 1),
            Event::Balloon { inflate, pages, reclaimed, .. } => {
                self.add(if *inflate { C::BalloonInflated } else { C::BalloonDeflated }, *pages);
                self.add(C::BalloonReclaimed, *reclaimed);
            }
            Event::IotlbMiss { .. } => self.add(C::VhostIotlbMisses, 1),
            Event::IotlbHits { hits, .. } => self.add(C::VhostIotlbHits, *hits),
            Event::Tampered { .. }
            | Event::Life { .. }
            | Event::Measured { .. }
            | Event::Register { .. }
            | Event::Popped { .. }
            | Event::Interrupt { .. }
            | Event::Status { .. }
            | Event::Broken { .. }
            | Event::Sigbus { .. }
            | Event::Secret { .. }
            | Event::Report { .. }
            | Event::Console { .. }
            | Event::DmaAlloc { .. }
            | Event::DmaFree { .. }
            | Event::Flip { .. }
            | Event::Plugged { .. }
            | Event::Frame { .. }
            | Event::Unwoken { .. }
            | Event::Leak { .. }
            | Event::Actor { .. }
            | Event::Hot { .. }
            | Event::LeaksLeftOut { .. }
            | Event::Comparison { .. } => (),
        }
    }

    /// Conversions and round trips.
    fn count_page(&mut self, gfn: u64, op: PageOp, effect: Effect, cause: Option<Cause>) {
        match op {
            PageOp::TakeIn => self.add(Counter::UvTakeIn, 1),
            PageOp::ShareCommit => self.add(Counter::UvShare, 1),
            PageOp::UnshareCommit if effect == Effect::ZeroSecure => {
                self.add(Counter::UvUnshare, 1)
            }
            PageOp::PageOut => {
                self.add(Counter::UvPageOut, 1);
                self.went_out(gfn, cause);
            }
            PageOp::PageIn if effect == Effect::Unseal => {
                self.add(Counter::UvPageIn, 1);
                if let Some(Out { part, .. }) = self.out.remove(&gfn) {
                    self.add(Counter::RoundTrips, 1);
                    self.add(Counter::round_trips_by(part), 1);
                }
            }
            PageOp::PageIn => self.add(Counter::UvMapShared, 1),
            PageOp::InitDone
            | PageOp::InitAbort
            | PageOp::ShareBegin
            | PageOp::ShareRevert
            | PageOp::UnshareBegin
            | PageOp::UnshareGrant
            | PageOp::UnshareGranted
            | PageOp::UnshareCommit
            | PageOp::UnshareRevert
            | PageOp::Inval
            | PageOp::Terminate => (),
        }
    }

    fn went_out(&mut self, gfn: u64, cause: Option<Cause>) {
        // A unit that goes out while it counts as out was lost in between: one way.
        if let Some(Out { since, .. }) = self.out.remove(&gfn) {
            self.add_in(since, Counter::OneWay, 1);
        }
        if let Some(Cause::Touch { part, .. }) = cause {
            let since = self.clock.phase();
            self.out.insert(gfn, Out { part, since });
        }
    }

    fn count_page_bytes(&mut self, effect: Effect, bytes: u64) {
        match effect {
            Effect::Seal => self.add(Counter::SealBytes, bytes),
            Effect::Unseal => self.add(Counter::UnsealBytes, bytes),
            Effect::ZeroNormal | Effect::ZeroSecure | Effect::Wipe => {
                self.add(Counter::ZeroBytes, bytes);
            }
            Effect::Keep | Effect::Take | Effect::Fresh | Effect::Map | Effect::Restore => (),
        }
    }

    fn count_touch(&mut self, event: &Event) {
        let Event::Touch { device, queue, part, direction, bytes, state, .. } = event else {
            return;
        };
        self.add(Counter::touch_of(*state), 1);
        let key = TouchKey {
            device: *device,
            queue: *queue,
            part: *part,
            state: *state,
            direction: *direction,
        };
        let tally = self.touches.entry((key, self.clock.phase())).or_default();
        tally.count += 1;
        tally.bytes = tally.bytes.saturating_add(*bytes);
    }

    /// What is still out never came back.
    fn finish(&mut self) {
        for Out { since, .. } in std::mem::take(&mut self.out).into_values() {
            self.add_in(since, Counter::OneWay, 1);
        }
    }
}
