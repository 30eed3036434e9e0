//! All that the page shows of one run: bounded, whatever the length of its log.

use super::behind::Behind;
use super::life::{Life, Story};
use super::pages::Pages;
use super::sentence;
use super::slots::Slots;
use super::spent::Spent;
use super::timeline::Timeline;
use crate::counters::{Counter, Counters, Phase};
use crate::event::{Event, Record};
use crate::outcome::Outcome;
use crate::output::{events, json};
use crate::saved::Head;
use crate::verdict::{self, Verdict};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Characters of an event's line that are shown.
const LINE_CHARS_MAX: usize = 600;

/// Sentences that are shown of how a run got stuck.
const STUCK_MAX: usize = 32;

/// One event, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Virtual time.
    pub t_ns: u64,
    /// Its sentence.
    pub sentence: String,
    /// Its line in the event file, cut if it is long.
    pub line: String,
}

/// What tables and bars say of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What it is of, and how it ended.
    pub head: Head,
    /// All that holds, worst first.
    pub findings: Vec<Outcome>,
    /// All counters.
    pub counters: Counters,
    /// How many events.
    pub events: u64,
    /// Virtual time of the last.
    pub end_ns: u64,
    /// Where time went.
    pub spent: Spent,
    /// If the run got stuck, what everybody was doing; and how many leaks its log leaves out.
    pub stood: Vec<String>,
}

/// What the pictures of a run are drawn from.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The events behind the counters.
    pub behind: Behind,
    /// The axis.
    pub timeline: Timeline,
    /// The pages.
    pub pages: Pages,
    /// The life of the hottest page, or of the one that was asked for.
    pub story: Option<Story>,
    /// The swiotlb pool.
    pub slots: Slots,
    /// The events that something on the page points to.
    pub shown: BTreeMap<u64, Shown>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Digest {
    /// What is always kept.
    pub sum: Summary,
    /// What is kept while there is room.
    pub pics: Option<Pictures>,
}

impl Digest {
    /// Folds one run. `page` is the page whose life is told, if not the hottest.
    pub fn of(head: Head, records: &[Record], page: Option<u64>) -> Self {
        let facts = &head.facts;
        let (counters, behind) = Behind::of(records, facts.guest.marks);
        let timeline = Timeline::of(facts.guest.marks, records);
        let pages = Pages::of(&head, &timeline, records);
        let story = page.or(pages.hottest).map(|gfn| Life::of(facts, records, gfn).story());
        let slots = Slots::of(&timeline, records);
        let stood: Vec<&Record> =
            records.iter().filter(tells_how_it_stood).take(STUCK_MAX).collect();
        let mut wanted: BTreeSet<u64> = behind.seqs().collect();
        wanted.extend(stood.iter().map(|record| record.seq));
        wanted.extend(story.iter().flat_map(Story::seqs));
        wanted.extend(pages.rows.iter().filter_map(|row| row.page.first_seq));
        wanted.extend((slots.high > 0).then_some(slots.high_seq));
        let shown = wanted
            .into_iter()
            .filter_map(|seq| records.get(usize::try_from(seq).ok()?))
            .map(|record| (record.seq, shown(&head, record)))
            .collect();
        let sum = Summary {
            findings: head.findings(records, &counters),
            counters,
            events: records.len() as u64,
            end_ns: records.last().map_or(0, |record| record.t_ns),
            spent: Spent::of(facts, records),
            stood: stood.iter().map(|record| sentence::of(facts, &record.event)).collect(),
            head,
        };
        Self { sum, pics: Some(Pictures { behind, timeline, pages, story, slots, shown }) }
    }

    /// How much there is to see in it: what is not as expected first, then what flickers most.
    pub fn weight(&self) -> (bool, u64) {
        let failed = self.sum.verdict() == Verdict::Fail;
        (failed, self.sum.counters.sum(Counter::RoundTrips, &Phase::ALL))
    }
}

impl Summary {
    /// The outcome: the worst of the findings.
    pub fn outcome(&self) -> Outcome {
        self.findings.first().copied().unwrap_or(Outcome::Crashed)
    }

    /// What the scenario's own checks say together.
    pub fn verdict(&self) -> Verdict {
        verdict::sum(self.head.checks.iter().map(|check| check.verdict))
    }
}

/// The runs of one page: all their summaries, and the pictures of as many as a page could hold.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The runs in the order in which they came.
    pub runs: Vec<Digest>,
    events: usize,
}

impl Gathered {
    /// Several times what a page has room for.
    const EVENTS_MAX: usize = 12_000;

    /// Takes one more; where there are too many, the least telling loses its pictures.
    pub fn push(&mut self, digest: Digest) {
        let count = |digest: &Digest| digest.pics.as_ref().map_or(0, |pics| pics.shown.len());
        self.events += count(&digest);
        self.runs.push(digest);
        while self.events > Self::EVENTS_MAX {
            let with = self.runs.iter_mut().enumerate().filter(|(_, run)| run.pics.is_some());
            let Some((_, least)) = with.min_by_key(|(at, run)| (run.weight(), Reverse(*at))) else {
                break;
            };
            self.events -= count(least);
            least.pics = None;
        }
    }
}

/// Whether an event tells how everybody stood at the end.
fn tells_how_it_stood(record: &&Record) -> bool {
    matches!(record.event, Event::Actor { .. } | Event::Hot { .. } | Event::LeaksLeftOut { .. })
}

fn shown(head: &Head, record: &Record) -> Shown {
    let mut line = Vec::new();
    let written = json::write_line(&mut line, &events::Line::of(&head.run, record));
    let line = written.map_or_else(|_| String::new(), |()| String::from_utf8_lossy(&line).into());
    let cut: String = line.trim_end().chars().take(LINE_CHARS_MAX).collect();
    let is_whole = cut.len() == line.trim_end().len();
    Shown {
        t_ns: record.t_ns,
        sentence: sentence::of(&head.facts, &record.event),
        line: if is_whole { cut } else { format!("{cut}...") },
    }
}
