//! A machine and the model of it, which do the same things one after the other: what is compared
//! after each, and what must hold whatever the model says.

use super::fake::{World, asks_in, asks_to_share, config, page_args};
use super::model::{Action, At, Model, Outcome, Refuses};
use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use ultravisor::platform::{Config, OnTamper, Platform};
use ultravisor::{LPID, Life, PageState};
use ultravisor_abi::{Gfn, HStatus, Hcall, Ucall, UnitSize};

/// Where decisions come from: splitmix64 (Steele, Lea and Flood, 2014), or given bytes.
struct Random {
    state: u64,
    given: Option<VecDeque<u8>>,
}

impl Random {
    /// A word that is like no other: what is stored must be told apart from all else.
    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn next(&mut self) -> u64 {
        match &mut self.given {
            None => self.word(),
            Some(bytes) => {
                let taken = bytes.drain(..bytes.len().min(8));
                taken.fold(0, |sum, byte| sum << 8 | u64::from(byte))
            }
        }
    }

    /// A small choice costs one given byte, so that changing a byte changes one choice.
    fn below(&mut self, n: u64) -> u64 {
        match &mut self.given {
            Some(bytes) if n <= 256 => u64::from(bytes.pop_front().unwrap_or(0)) % n,
            Some(_) | None => self.next() % n,
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// One machine and the model of it.
pub struct Pair {
    pub world: World,
    pub model: Model,
    random: Random,
    refuses: Rc<Cell<Refuses>>,
    /// The first block of every ciphertext that the host ever saw.
    ciphertexts: BTreeSet<Vec<u8>>,
    /// Words that were in secure memory when the VM ended.
    secrets: Vec<u64>,
    /// What was done so far.
    pub done: Vec<Action>,
}

impl Pair {
    /// Goes as a seed says.
    pub fn new(seed: u64) -> Self {
        Self::with(Random { state: seed, given: None }, seed)
    }

    /// Goes as these bytes say.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let given = Some(bytes.iter().copied().collect());
        Self::with(Random { state: 1, given }, 1)
    }

    /// Whether no given byte is left to go by.
    pub fn is_used_up(&self) -> bool {
        self.random.given.as_ref().is_some_and(VecDeque::is_empty)
    }

    /// Every unit holds what the model says.
    pub fn agree(&self) {
        self.world.all_units().into_iter().for_each(|gfn| self.bytes_agree(gfn.0));
    }

    fn with(mut random: Random, seed: u64) -> Self {
        let unit = if random.one_in(25) { UnitSize::KIB_64 } else { UnitSize::KIB_4 };
        let seals = !random.one_in(5);
        let terminates = random.one_in(3);
        let mut world = World::new(Config {
            platform: if seals { Platform::Pef } else { Platform::PefUnsealed },
            on_tamper: if terminates { OnTamper::Terminate } else { OnTamper::Refault },
            seed,
            ..config(unit)
        });
        let refuses = Rc::new(Cell::new(Refuses::default()));
        let said = Rc::clone(&refuses);
        world.kvm.before = Some(Box::new(move |_, call, args| {
            let (refuses, gfn) = (said.get(), Some(args[0] / unit.bytes()));
            let refused = (asks_in(call, args) && refuses.page_in == gfn)
                || (asks_to_share(call, args) && refuses.share == gfn)
                || (call == Hcall::SvmInitDone && refuses.init_done);
            refused.then_some(HStatus::Busy)
        }));
        let model = Model::new(unit, seals, terminates);
        let (ciphertexts, secrets, done) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { world, model, random, refuses, ciphertexts, secrets, done }
    }

    /// Few units, so that actions meet; some at the edges.
    fn gfn(&mut self) -> u64 {
        let high = self.world.high().0;
        self.random.pick(&[0, 1, 2, 3, 4, 15, high, high + 1, high + 3])
    }

    /// What is done next.
    pub fn action(&mut self) -> Action {
        let (gfn, word) = (self.gfn(), self.random.word());
        let runs = self.model.life != Life::Terminated;
        match self.random.below(16) {
            0..3 if runs => Action::Store { gfn, word },
            3..5 if runs => Action::Load { gfn },
            0..6 => Action::HostRead { gfn },
            6 => Action::HostWrite { gfn, word },
            7..11 => self.guest_call(),
            11..15 => self.host_call(),
            _ => Action::Refuse(self.refusal()),
        }
    }

    fn refusal(&mut self) -> Refuses {
        let gfn = self.gfn();
        match self.random.below(8) {
            0 => Refuses { page_in: Some(gfn), ..Refuses::default() },
            1 | 2 => Refuses { share: Some(gfn), ..Refuses::default() },
            3 => Refuses { init_done: true, ..Refuses::default() },
            4 => Refuses { map: true, ..Refuses::default() },
            _ => Refuses::default(),
        }
    }

    fn guest_call(&mut self) -> Action {
        let call = match (self.model.life, self.random.below(16)) {
            (Life::Normal, 0..10) => Ucall::Esm,
            (_, 0..7) => Ucall::SharePage,
            (_, 7..12) => Ucall::UnsharePage,
            (_, 12..14) => Ucall::UnshareAllPages,
            _ => self.random.pick(Ucall::ALL),
        };
        let first = match self.random.below(12) {
            0 => self.random.next() >> self.random.below(64),
            _ => self.gfn(),
        };
        let count = match self.random.below(12) {
            0 => self.random.next() >> self.random.below(64),
            1 => 0,
            n => 1 + n % 4,
        };
        let args = if call == Ucall::Esm {
            [u64::from(!self.random.one_in(10)), u64::from(!self.random.one_in(10))]
        } else {
            [first, count]
        };
        Action::Guest { call, args }
    }

    fn host_call(&mut self) -> Action {
        let unit = self.world.unit;
        let gfn = Gfn(if self.random.one_in(10) { self.random.below(40) } else { self.gfn() });
        let call = match self.random.below(64) {
            0..20 => Ucall::PageIn,
            20..40 => Ucall::PageOut,
            40..56 => Ucall::PageInval,
            56 => Ucall::SvmTerminate,
            57 | 58 => Ucall::RegisterMemSlot,
            59..61 => Ucall::UnregisterMemSlot,
            _ => self.random.pick(Ucall::ALL),
        };
        let start = unit.start(gfn).0;
        let mut args = match call {
            Ucall::PageInval => [LPID, start, unit.order().into(), 0, 0, 0],
            Ucall::RegisterMemSlot => {
                let units = 1 + self.random.below(4);
                [LPID, start, units * unit.bytes(), 0, self.random.below(3), 0]
            }
            Ucall::UnregisterMemSlot => [LPID, self.random.below(3), 0, 0, 0, 0],
            Ucall::WritePate
            | Ucall::Esm
            | Ucall::Return
            | Ucall::PageIn
            | Ucall::PageOut
            | Ucall::SharePage
            | Ucall::UnsharePage
            | Ucall::SvmTerminate
            | Ucall::UnshareAllPages => page_args(unit, gfn),
        };
        if self.random.one_in(6) {
            let wrong = self.random.below(6) as usize;
            args[wrong] = self.random.next() >> self.random.below(64);
        }
        Action::Host { call, args }
    }

    /// Has the machine do something.
    pub fn perform(&mut self, action: Action) -> Outcome {
        let fill = |word: u64, unit: UnitSize| word.to_le_bytes().repeat(unit.bytes() as usize / 8);
        let unit = self.world.unit;
        let world = &mut self.world;
        match action {
            Action::Load { gfn } => Outcome::Guest(world.load(Gfn(gfn)).map(|_| ())),
            Action::Store { gfn, word } => {
                Outcome::Guest(world.store(unit.start(Gfn(gfn)), &fill(word, unit)))
            }
            Action::HostRead { gfn } => Outcome::Host(world.host_touch(Gfn(gfn))),
            Action::HostWrite { gfn, word } => {
                let touched = world.host_touch(Gfn(gfn));
                if touched.is_ok() {
                    world.host_write(Gfn(gfn), 0, &fill(word, unit));
                }
                Outcome::Host(touched)
            }
            Action::Guest { call, args } => Outcome::Call(world.guest(call, args)),
            Action::Host { call, args } => Outcome::Call(world.uv.host_call(call, args)),
            Action::Refuse(refuses) => {
                self.refuses.set(refuses);
                world.kvm.fault_answer = refuses.map.then_some(Err(HStatus::Busy));
                Outcome::None
            }
        }
    }

    /// Does one thing, and compares.
    pub fn step(&mut self) {
        let action = self.action();
        self.done.push(action);
        let was_out: Vec<bool> = self.model.pages.values().map(|page| page.at == At::Out).collect();
        let secure = self.model.life == Life::Secure;
        let secrets: Vec<u64> = self
            .model
            .pages
            .values()
            .filter(|page| matches!(page.at, At::In | At::Out))
            .map(|page| page.guest)
            .collect();
        let expected = self.model.perform(action);
        let found = self.perform(action);
        assert_eq!(found, expected, "{action:x?}");
        if secure && self.model.life == Life::Terminated {
            self.secrets = secrets;
        }
        self.states_agree();
        let gfn = self.gfn();
        self.bytes_agree(gfn);
        let now: Vec<_> = self.model.pages.iter().map(|(gfn, page)| (*gfn, page.at)).collect();
        for ((gfn, at), was_out) in now.into_iter().zip(was_out) {
            if self.model.seals
                && at == At::Out
                && !was_out
                && !matches!(action, Action::HostWrite { .. })
            {
                let block = self.world.normal(Gfn(gfn))[..16].to_vec();
                assert!(self.ciphertexts.insert(block), "unit {gfn}: a ciphertext repeats");
            }
        }
    }

    fn states_agree(&self) {
        assert_eq!(self.world.uv.life(), self.model.life);
        assert_eq!(self.world.uv.pate(), self.model.pate);
        for (gfn, page) in &self.model.pages {
            let expected = match page.at {
                At::Normal => PageState::Normal,
                At::In => PageState::Secure,
                At::Out => PageState::PagedOut,
                At::Shared => PageState::Shared,
                At::SharedInv => PageState::SharedInv,
            };
            assert_eq!(self.world.state(Gfn(*gfn)), expected, "unit {gfn}");
        }
    }

    /// What guest and host see of a unit. After the end its content is undefined, but no secret.
    fn bytes_agree(&self, gfn: u64) {
        let page = self.model.pages[&gfn];
        let normal = self.world.normal(Gfn(gfn));
        let holds = |word: u64| normal.chunks_exact(8).any(|bytes| bytes == word.to_le_bytes());
        if self.model.life == Life::Terminated {
            let leaked = self.secrets.iter().any(|word| *word != 0 && holds(*word));
            assert!(!leaked || !self.model.seals, "unit {gfn}: a secret outlives the VM");
            return;
        }
        let is = |bytes: &[u8], word: u64| bytes.chunks_exact(8).all(|b| b == word.to_le_bytes());
        let seen = self.world.seen(Gfn(gfn));
        match page.at {
            At::Normal | At::Shared => {
                assert!(is(&normal, page.host), "unit {gfn}: {page:x?}");
                assert_eq!(seen.as_ref(), Some(&normal), "unit {gfn}");
            }
            At::SharedInv => assert!(is(&normal, page.host) && seen.is_none(), "unit {gfn}"),
            At::In => assert!(seen.is_some_and(|bytes| is(&bytes, page.guest)), "unit {gfn}"),
            At::Out => assert_eq!(seen, None, "unit {gfn}"),
        }
        if page.at == At::In || (page.at == At::Out && self.model.seals) {
            assert!(page.guest == 0 || !holds(page.guest), "unit {gfn}: the host sees a secret");
        }
        if page.at == At::Out && !self.model.seals {
            assert!(is(&normal, page.host), "unit {gfn}: {page:x?}");
        }
    }
}
