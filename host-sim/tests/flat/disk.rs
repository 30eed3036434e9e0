//! A virtio-blk device over virtio-mmio, as small as the guest lets it be, that can misbehave.

use super::ram::Ram;

const VERSION_1: u64 = 1 << 32;
const ACCESS_PLATFORM: u64 = 1 << 33;
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
    /// Offers bit 33.
    Translates,
    /// Flips a bit in what it reads from its medium.
    Corrupts,
    /// Says done, but writes no data.
    Forgets,
    /// Names a request in the used ring that nobody made.
    WrongToken,
}

#[derive(Default)]
struct Queue {
    size: u64,
    desc: u64,
    avail: u64,
    used: u64,
    ready: bool,
    seen: u16,
}

pub struct Disk {
    habit: Habit,
    pub medium: Vec<u8>,
    /// Every buffer of every request: address, bytes, whether the device writes it.
    pub buffers: Vec<(u64, u32, bool)>,
    pub requests: usize,
    status: u32,
    selector: u64,
    queue: Queue,
}

impl Disk {
    pub fn new(medium: Vec<u8>, habit: Habit) -> Self {
        let mut disk = Self {
            habit,
            medium,
            buffers: Vec::new(),
            requests: 0,
            status: 0,
            selector: 0,
            queue: Queue::default(),
        };
        disk.medium.resize(disk.medium.len().next_multiple_of(512), 0);
        disk
    }

    fn features(&self) -> u64 {
        let habit = |habit, bits| if self.habit == habit { bits } else { 0 };
        let version = if self.habit == Habit::Legacy { 0 } else { VERSION_1 };
        version | habit(Habit::Indirect, INDIRECT) | habit(Habit::Translates, ACCESS_PLATFORM)
    }

    pub fn read(&self, at: u64, bytes: u8) -> u64 {
        let config = (self.medium.len() as u64 / 512).to_le_bytes();
        match at {
            0x000 => 0x7472_6976,
            0x004 => {
                if self.habit == Habit::Legacy {
                    1
                } else {
                    2
                }
            }
            0x008 => 2,
            0x010 => (self.features() >> (32 * self.selector)) & 0xffff_ffff,
            0x034 => 256,
            0x040 => self.queue.desc / 4096,
            0x044 => u64::from(self.queue.ready),
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
        let queue = &mut self.queue;
        match at {
            0x014 => self.selector = wide & 1,
            0x038 => queue.size = wide,
            0x040 => {
                queue.desc = wide * 4096;
                queue.avail = queue.desc + 16 * queue.size;
                queue.used = (queue.avail + 6 + 2 * queue.size).next_multiple_of(4096);
            }
            0x044 => queue.ready = wide == 1,
            0x050 => return true,
            0x070 if value == 0 => (self.status, self.queue) = (0, Queue::default()),
            0x070 if self.habit == Habit::RefusesFeatures => self.status = value & !FEATURES_OK,
            0x070 => self.status = value,
            0x080 => queue.desc = wide,
            0x090 => queue.avail = wide,
            0x0a0 => queue.used = wide,
            _ => (),
        }
        false
    }

    /// Serves what is in the available ring; returns what it wrote.
    pub fn serve(&mut self, ram: &mut Ram) -> Vec<(u64, u64)> {
        if self.habit == Habit::NeedsReset {
            self.status |= NEEDS_RESET;
        }
        if matches!(self.habit, Habit::Silent | Habit::NeedsReset) {
            return Vec::new();
        }
        let mut written = Vec::new();
        while u64::from(self.queue.seen) != ram.number(self.queue.avail + 2, 2) {
            let slot = u64::from(self.queue.seen) % self.queue.size;
            let head = ram.number(self.queue.avail + 4 + 2 * slot, 2);
            let chain = self.chain(ram, head);
            let bytes = self.request(ram, &chain, &mut written);
            let id = if self.habit == Habit::WrongToken { head + 1 } else { head };
            let entry = self.queue.used + 4 + 8 * slot;
            ram.write(entry, &(id | bytes << 32).to_le_bytes());
            self.queue.seen = self.queue.seen.wrapping_add(1);
            ram.write(self.queue.used + 2, &self.queue.seen.to_le_bytes());
            written.push((self.queue.used, 6 + 8 * self.queue.size));
        }
        written
    }

    fn chain(&mut self, ram: &Ram, head: u64) -> Vec<(u64, u32, bool)> {
        let (mut table, mut index, mut chain) = (self.queue.desc, head, Vec::new());
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
    fn request(
        &mut self,
        ram: &mut Ram,
        chain: &[(u64, u32, bool)],
        written: &mut Vec<(u64, u64)>,
    ) -> u64 {
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
            written.push((data, u64::from(bytes)));
        } else if !to_guest {
            self.medium[place].copy_from_slice(&ram.read(data, bytes as usize));
        }
        ram.write(status, &[u8::from(self.habit == Habit::IoError)]);
        written.push((status, 1));
        u64::from(if to_guest { bytes } else { 0 }) + 1
    }
}
