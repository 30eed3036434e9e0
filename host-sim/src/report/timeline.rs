//! The time axis of the pictures: a fixed number of bins over a run, each phase on a scale of its
//! own, so that a short steady state is not lost beside a long initialisation.

use crate::counters::{Phase, PhaseClock};
use crate::event::Record;

/// How many bins a run is cut into.
pub const BINS: u32 = 256;

/// A phase's part of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which phase.
    pub phase: Phase,
    /// Virtual time at which it begins, in nanoseconds.
    pub from_ns: u64,
    /// Virtual time at which it ends.
    pub to_ns: u64,
    /// Its first bin.
    pub first: u32,
    /// One past its last bin.
    pub past: u32,
}

/// The axis of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The phases that the run had, in order.
    pub stretches: Vec<Stretch>,
}

impl Timeline {
    /// The axis over a whole log.
    pub fn of(marks: bool, records: &[Record]) -> Self {
        let mut clock = PhaseClock::new(marks);
        let mut spans: Vec<(Phase, u64, u64)> = Vec::new();
        for record in records {
            let phase = clock.phase();
            match spans.last_mut() {
                Some(last) if last.0 == phase => last.2 = record.t_ns,
                Some((_, _, end)) => {
                    let end = *end;
                    spans.push((phase, end, record.t_ns));
                }
                None => spans.push((phase, 0, record.t_ns)),
            }
            clock.follow(&record.event);
        }
        Self { stretches: cut(&spans) }
    }

    /// The bin of a moment.
    pub fn bin(&self, t_ns: u64) -> u32 {
        let stretch = self.stretches.iter().find(|stretch| t_ns < stretch.to_ns);
        let Some(stretch) = stretch.or(self.stretches.last()) else { return 0 };
        let (span, bins) = (stretch.to_ns - stretch.from_ns, stretch.past - stretch.first);
        let into = u128::from(t_ns.saturating_sub(stretch.from_ns));
        let at = into * u128::from(bins) / u128::from(span.max(1));
        let at = u32::try_from(at).unwrap_or(u32::MAX).min(bins.saturating_sub(1));
        stretch.first + at
    }
}

/// Gives the steady state most of the bins.
fn cut(spans: &[(Phase, u64, u64)]) -> Vec<Stretch> {
    let weight = |phase: Phase| match phase {
        Phase::Init => 24_u32,
        Phase::Steady => 96,
        Phase::After => 8,
    };
    let total: u32 = spans.iter().map(|(phase, _, _)| weight(*phase)).sum();
    let mut first = 0;
    let mut stretches = Vec::new();
    for (at, (phase, from_ns, to_ns)) in spans.iter().copied().enumerate() {
        let bins = BINS * weight(phase) / total.max(1);
        let past = if at + 1 == spans.len() { BINS } else { first + bins };
        stretches.push(Stretch { phase, from_ns, to_ns, first, past });
        first = past;
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Mark, WaitBy};

    fn record(t_ns: u64, event: Event) -> Record {
        Record { seq: 0, t_ns, event }
    }

    #[test]
    fn each_phase_has_bins_of_its_own_and_time_never_runs_back() {
        let wait = || Event::Wait { by: WaitBy::Pause, ns: 1 };
        let mark = |mark| Event::Mark { mark };
        let records = [
            record(900_000, wait()),
            record(1_000_000, mark(Mark::Ready)),
            record(1_000_100, wait()),
            record(1_000_200, mark(Mark::Done)),
            record(1_000_300, wait()),
        ];
        let line = Timeline::of(true, &records);
        let phases: Vec<Phase> = line.stretches.iter().map(|stretch| stretch.phase).collect();
        assert_eq!(phases, Phase::ALL);
        assert_eq!(line.stretches[2].past, BINS);
        let bins: Vec<u32> = (0..1_000_400).step_by(10).map(|t| line.bin(t)).collect();
        assert!(bins.is_sorted() && bins[0] == 0 && bins[bins.len() - 1] == BINS - 1);
        // The steady state is a ten-thousandth of the time and three quarters of the picture.
        assert!(line.bin(1_000_199) - line.bin(1_000_001) > BINS / 2);
    }

    #[test]
    fn a_run_of_one_moment_has_an_axis_too() {
        let line = Timeline::of(false, &[record(0, Event::Wait { by: WaitBy::Pause, ns: 0 })]);
        assert_eq!(line.bin(0), 0);
        assert_eq!(line.bin(u64::MAX), BINS - 1);
        assert_eq!(Timeline::of(false, &[]).bin(5), 0);
    }
}
