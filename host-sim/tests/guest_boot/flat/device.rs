//! Devices over virtio-mmio, as small as the guest lets them be, that can misbehave.

use super::reach::Reach;
use ultravisor_abi::ours::{F_IDENTITY_ADDRESS, QUIRK_REGISTER};

const VERSION_1: u64 = 1 << 32;
/// VIRTIO_F_ACCESS_PLATFORM.
pub const ACCESS_PLATFORM: u64 = 1 << 33;
const INDIRECT: u64 = 1 << 28;
const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Good,
    /// Offers indirect descriptors.
    Indirect,
    /// Version 1 of the registers, without VERSION_1.
    Legacy,
    /// Answers every request with an I/O error.
    IoError,
    /// Never answers.
    Silent,
    /// Never answers, and says that it needs a reset.
    NeedsReset,
    /// Clears FEATURES_OK.
    RefusesFeatures,
    /// Flips a bit in what it reads from its medium.
    Corrupts,
    /// Says done, but writes no data.
    Forgets,
    /// Names a request in the used ring that nobody made.
    WrongToken,
}

/// What kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends every frame back if somebody waits for one.
    Net,
    Blk,
    Console,
    Entropy,
    /// Notes the page numbers that it gets.
    Balloon,
}

/// Buffers of a request: address, bytes, whether the device writes it.
type Chain = Vec<(u64, u32, bool)>;

#[derive(Clone, Copy, Default)]
struct Queue {
    size: u64,
    desc: u64,
    avail: u64,
    used: u64,
    ready: bool,
    seen: u16,
}

pub struct Device {
    kind: Kind,
    habit: Habit,
    pub medium: Vec<u8>,
    /// Every buffer of every request.
    pub buffers: Chain,
    pub requests: usize,
    /// Feature bits offered beside those that its habit names.
    offers: u64,
    /// Bits without which FEATURES_OK does not hold.
    demands: u64,
    /// Whether it is not there before the guest is secure.
    pub late: bool,
    /// How often the driver reset it.
    pub resets: usize,
    /// What the driver accepted.
    pub accepted: u64,
    poked: bool,
    status: u32,
    selector: u64,
    driver_selector: u64,
    queues: [Queue; 2],
    selected: usize,
    /// What came over the wire or to the console.
    pub sent: Vec<Vec<u8>>,
}

impl Device {
    pub fn new(kind: Kind, habit: Habit) -> Self {
        Self { kind, ..Self::disk(Vec::new(), habit) }
    }

    pub fn disk(medium: Vec<u8>, habit: Habit) -> Self {
        let mut disk = Self {
            kind: Kind::Blk,
            habit,
            medium,
            buffers: Vec::new(),
            requests: 0,
            offers: 0,
            demands: 0,
            late: false,
            resets: 0,
            accepted: 0,
            poked: false,
            status: 0,
            selector: 0,
            driver_selector: 0,
            queues: Default::default(),
            selected: 0,
            sent: Vec::new(),
        };
        disk.medium.resize(disk.medium.len().next_multiple_of(512), 0);
        disk
    }

    /// The same, with these feature bits offered too.
    pub fn offering(self, offers: u64) -> Self {
        Self { offers, ..self }
    }

    /// The same, with these feature bits offered and demanded.
    pub fn demanding(self, demands: u64) -> Self {
        Self { offers: self.offers | demands, demands, ..self }
    }

    /// The same, but not there before the guest is secure.
    pub fn late(self) -> Self {
        Self { late: true, ..self }
    }

    fn features(&self) -> u64 {
        let habit = |habit, bits| if self.habit == habit { bits } else { 0 };
        let version = if self.habit == Habit::Legacy { 0 } else { VERSION_1 };
        version | habit(Habit::Indirect, INDIRECT) | self.offers
    }

    /// Whether it takes addresses for those of its window, if it has one.
    pub fn translates(&self) -> bool {
        self.accepted & (ACCESS_PLATFORM | F_IDENTITY_ADDRESS) == ACCESS_PLATFORM
    }

    pub fn read(&self, at: u64, bytes: u8) -> u64 {
        let config = (self.medium.len() as u64 / 512).to_le_bytes();
        let queue = &self.queues[self.selected];
        match at {
            0x000 => 0x7472_6976,
            0x004 => {
                if self.habit == Habit::Legacy {
                    1
                } else {
                    2
                }
            }
            0x008 if self.late => 0,
            0x008 => match self.kind {
                Kind::Net => 1,
                Kind::Blk => 2,
                Kind::Console => 3,
                Kind::Entropy => 4,
                Kind::Balloon => 5,
            },
            0x010 => (self.features() >> (32 * self.selector)) & 0xffff_ffff,
            0x034 => 256,
            0x040 => queue.desc / 4096,
            0x044 => u64::from(queue.ready),
            0x070 => u64::from(self.status),
            0x100..0x108 => {
                let start = (at - 0x100) as usize;
                let mut word = [0; 8];
                word[..bytes as usize].copy_from_slice(&config[start..start + bytes as usize]);
                u64::from_le_bytes(word)
            }
            _ => 0,
        }
    }

    /// Whether it was a kick.
    pub fn write(&mut self, at: u64, value: u32) -> bool {
        let wide = u64::from(value);
        let queue = &mut self.queues[self.selected];
        match at {
            0x014 => self.selector = wide & 1,
            0x020 => {
                let other = 0xffff_ffff << (32 * (1 - self.driver_selector));
                self.accepted = self.accepted & other | wide << (32 * self.driver_selector);
            }
            0x024 => self.driver_selector = wide & 1,
            0x030 => self.selected = value as usize & 1,
            0x038 => queue.size = wide,
            0x040 => {
                queue.desc = wide * 4096;
                queue.avail = queue.desc + 16 * queue.size;
                queue.used = (queue.avail + 6 + 2 * queue.size).next_multiple_of(4096);
            }
            0x044 => queue.ready = wide == 1,
            0x050 => return true,
            0x070 if value == 0 => {
                (self.status, self.queues, self.accepted) = (0, Default::default(), 0);
                self.resets += 1;
                self.offers |= if self.poked { ACCESS_PLATFORM } else { 0 };
            }
            0x070 if self.habit == Habit::RefusesFeatures => self.status = value & !FEATURES_OK,
            0x070 if self.accepted & self.demands != self.demands => {
                self.status = value & !FEATURES_OK;
            }
            0x070 => self.status = value,
            0x080 => queue.desc = wide,
            0x090 => queue.avail = wide,
            0x0a0 => queue.used = wide,
            QUIRK_REGISTER => self.poked = value == 1,
            _ => (),
        }
        false
    }

    /// Serves what is in the available rings.
    pub fn serve(&mut self, ram: &mut Reach<'_>) {
        if self.habit == Habit::NeedsReset {
            self.status |= NEEDS_RESET;
        }
        if matches!(self.habit, Habit::Silent | Habit::NeedsReset) {
            return;
        }
        // Buffers in a receive queue wait until there is something to receive.
        let queues = match self.kind {
            Kind::Blk | Kind::Entropy => 0..1,
            Kind::Net | Kind::Console => 1..2,
            Kind::Balloon => 0..2,
        };
        for queue in queues {
            while let Some((head, chain)) = self.take(ram, queue) {
                let bytes = match self.kind {
                    Kind::Blk => self.request(ram, &chain),
                    Kind::Entropy => self.entropy(ram, &chain),
                    Kind::Net | Kind::Console | Kind::Balloon => self.send(ram, &chain),
                };
                let id = if self.habit == Habit::WrongToken { head + 1 } else { head };
                self.give(ram, queue, id | bytes << 32);
            }
        }
    }

    /// The next chain of a queue, if there is one.
    fn take(&mut self, ram: &mut Reach<'_>, queue: usize) -> Option<(u64, Chain)> {
        let Queue { size, desc, avail, seen, .. } = self.queues[queue];
        if size == 0 || u64::from(seen) == ram.number(avail + 2, 2) {
            return None;
        }
        if !ram.faults.is_empty() {
            self.status |= NEEDS_RESET;
            return None;
        }
        let head = ram.number(avail + 4 + 2 * (u64::from(seen) % size), 2);
        Some((head, self.chain(ram, desc, head)))
    }

    /// Puts an entry into a used ring.
    fn give(&mut self, ram: &mut Reach<'_>, queue: usize, entry: u64) {
        let queue = &mut self.queues[queue];
        let slot = u64::from(queue.seen) % queue.size;
        ram.write(queue.used + 4 + 8 * slot, &entry.to_le_bytes());
        queue.seen = queue.seen.wrapping_add(1);
        ram.write(queue.used + 2, &queue.seen.to_le_bytes());
    }

    /// Takes what the guest sends; a network answers with the same if the guest waits for it.
    fn send(&mut self, ram: &mut Reach<'_>, chain: &[(u64, u32, bool)]) -> u64 {
        self.requests += 1;
        let mut bytes: Vec<u8> =
            chain.iter().flat_map(|(at, bytes, _)| ram.read(*at, *bytes as usize)).collect();
        self.sent.push(bytes.clone());
        if self.kind == Kind::Net
            && let Some((head, buffers)) = self.take(ram, 0)
        {
            let last = bytes.len() - 1;
            bytes[last] ^= u8::from(self.habit == Habit::Corrupts);
            let shown = if self.habit == Habit::Forgets { 12 } else { bytes.len() };
            ram.write(buffers[0].0, &bytes[..shown]);
            self.give(ram, 0, head | (bytes.len() as u64) << 32);
        }
        0
    }

    fn entropy(&mut self, ram: &mut Reach<'_>, chain: &[(u64, u32, bool)]) -> u64 {
        self.requests += 1;
        let (at, bytes, _) = chain[0];
        if self.habit != Habit::Forgets {
            ram.write(at, &vec![0xa5; bytes as usize]);
        }
        if self.habit == Habit::IoError { 0 } else { u64::from(bytes) }
    }

    fn chain(&mut self, ram: &mut Reach<'_>, desc: u64, head: u64) -> Chain {
        let (mut table, mut index, mut chain) = (desc, head, Vec::new());
        loop {
            let at = table + 16 * index;
            let (address, bytes) = (ram.number(at, 8), ram.number(at + 8, 4) as u32);
            let (flags, next) = (ram.number(at + 12, 2), ram.number(at + 14, 2));
            if flags & 4 != 0 {
                self.buffers.push((address, bytes, false));
                (table, index) = (address, 0);
                continue;
            }
            chain.push((address, bytes, flags & 2 != 0));
            if flags & 1 == 0 {
                self.buffers.extend(&chain);
                return chain;
            }
            index = next;
        }
    }

    /// Returns how many bytes it claims to have written.
    fn request(&mut self, ram: &mut Reach<'_>, chain: &[(u64, u32, bool)]) -> u64 {
        self.requests += 1;
        let [(header, ..), (data, bytes, to_guest), (status, ..)] = *chain else {
            panic!("header, data, status: {chain:?}")
        };
        let start = ram.number(header + 8, 8) as usize * 512;
        let place = start..start + bytes as usize;
        assert_eq!(to_guest, ram.number(header, 4) == 0, "direction and type agree");
        if to_guest && self.habit != Habit::Forgets {
            let mut out = self.medium[place].to_vec();
            out[bytes as usize / 2] ^= u8::from(self.habit == Habit::Corrupts);
            ram.write(data, &out);
        } else if !to_guest {
            self.medium[place].copy_from_slice(&ram.read(data, bytes as usize));
        }
        ram.write(status, &[u8::from(self.habit == Habit::IoError)]);
        u64::from(if to_guest { bytes } else { 0 }) + 1
    }
}
