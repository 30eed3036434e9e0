//! Seeded random sequences of everything that guest and host can do, compared step by step with
//! the model, and what must hold after every step whatever the model says.

use crate::fake::{World, asks_in, asks_to_share, config, page_args};
use crate::model::{Action, At, Model, Outcome, Refuses};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use ultravisor::platform::{Config, OnTamper, Platform};
use ultravisor::{LPID, Life, PageState};
use ultravisor_abi::{Gfn, HStatus, Hcall, UStatus, Ucall, UnitSize};

const SEQUENCES: u64 = 2_500;
const STEPS: usize = 100;

/// splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// One machine and the model of it.
struct Pair {
    world: World,
    model: Model,
    random: Random,
    refuses: Rc<Cell<Refuses>>,
    /// The first block of every ciphertext that the host ever saw.
    ciphertexts: BTreeSet<Vec<u8>>,
    /// Words that were in secure memory when the VM ended.
    secrets: Vec<u64>,
    done: Vec<Action>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
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

    fn action(&mut self) -> Action {
        let (gfn, word) = (self.gfn(), self.random.next());
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

    fn perform(&mut self, action: Action) -> Outcome {
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

    fn step(&mut self) {
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

#[test]
fn random_sequences_go_as_the_model_says() {
    let mut reached = BTreeSet::new();
    for seed in 0..SEQUENCES {
        let mut pair = Pair::new(seed);
        for _ in 0..STEPS {
            let stepped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.step()));
            if let Err(panic) = stepped {
                let from = pair.done.len().saturating_sub(12);
                eprintln!("sequence {seed}, step {}: {:x?}", pair.done.len(), &pair.done[from..]);
                std::panic::resume_unwind(panic);
            }
            let life = pair.model.life;
            reached.extend(pair.world.all_units().iter().map(|gfn| (life, pair.world.state(*gfn))));
        }
        for gfn in pair.world.all_units() {
            pair.bytes_agree(gfn.0);
        }
    }
    let settled = PageState::ALL.into_iter().filter(|state| !state.in_transit());
    let mut expected: BTreeSet<_> = settled.map(|state| (Life::Secure, state)).collect();
    expected.remove(&(Life::Secure, PageState::Normal));
    expected.extend([(Life::Normal, PageState::Normal), (Life::Terminated, PageState::Normal)]);
    assert_eq!(reached, expected, "the sequences go everywhere");
}

/// The sequences are worth something only if calls succeed and fail in them.
#[test]
fn random_sequences_see_every_status() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let mut pair = Pair::new(seed);
        for _ in 0..STEPS {
            let action = pair.action();
            if let Outcome::Call(status) = pair.perform(action) {
                seen.insert(status);
            }
            pair.model.perform(action);
        }
    }
    let expected = [
        UStatus::Success,
        UStatus::Function,
        UStatus::Parameter,
        UStatus::Permission,
        UStatus::P2,
        UStatus::P3,
        UStatus::P4,
        UStatus::P5,
        UStatus::State,
    ];
    assert!(expected.iter().all(|status| seen.contains(status)), "{seen:?}");
}
