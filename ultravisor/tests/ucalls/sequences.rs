//! Seeded random sequences of everything that guest and host can do, compared step by step with
//! the model. (A fuzzer writes such sequences too: `host-sim/fuzz`.)

use crate::model::Outcome;
use crate::pair::Pair;
use std::collections::BTreeSet;
use ultravisor::{Life, PageState};
use ultravisor_abi::UStatus;

const SEQUENCES: u64 = 2_500;
const STEPS: usize = 100;

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
        pair.agree();
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

#[test]
fn given_bytes_lead_a_sequence_to_their_end() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut pairs = [Pair::of_bytes(&bytes), Pair::of_bytes(&bytes)];
    for pair in &mut pairs {
        while !pair.is_used_up() {
            pair.step();
        }
        pair.agree();
    }
    let done = pairs.map(|pair| (pair.done.len(), format!("{:?}", pair.done)));
    assert_eq!(done[0], done[1], "the same bytes, the same way");
    assert!(done[0].0 > 20, "{} steps", done[0].0);
}
