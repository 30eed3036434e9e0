//! Policies, waivers, known failures, claims and proofs, as a user meets them.

mod claims;
mod known;
mod proof;
mod rig;
mod rules;
mod waivers;
mod wrong;
