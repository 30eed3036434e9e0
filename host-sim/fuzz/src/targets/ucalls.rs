//! Sequences of everything that a guest and its hypervisor can do to the page-state tables,
//! compared step by step with the model of the ultracalls' tests.

use super::pair::Pair;

/// Steps of one sequence.
const STEPS_MAX: usize = 200;

pub fn run(data: &[u8]) {
    let mut pair = Pair::of_bytes(data);
    for _ in 0..STEPS_MAX {
        if pair.is_used_up() {
            break;
        }
        pair.step();
    }
    pair.agree();
}
