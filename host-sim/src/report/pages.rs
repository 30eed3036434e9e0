//! The pages of a run: what each is for as far as its events tell, and which state it was in when.

use super::sentence;
use super::timeline::{BINS, Timeline};
use crate::event::{Chain, DeviceIndex, Event, Part, Record};
use crate::image::{Place, PlaceKind};
use crate::saved::{Facts, Head};
use std::collections::BTreeMap;
use std::ops::Range;
use ultravisor::{Effect, Life, PageOp, PageState};

/// Rows of the picture, at most.
const ROWS_MAX: usize = 40;

/// The states as the pictures tell them apart: units in transit by who has their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shade {
    /// Normal memory, unprotected.
    Normal,
    /// Only the guest sees it.
    Secure,
    /// Guest and host see it.
    Shared,
    /// The host has it, sealed.
    PagedOut,
}

impl Shade {
    /// All, in the order of the legend.
    pub const ALL: [Self; 4] = [Self::Secure, Self::Shared, Self::PagedOut, Self::Normal];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Secure => "secure",
            Self::Shared => "shared",
            Self::PagedOut => "paged out",
        }
    }

    /// The shade of a state.
    pub const fn of(state: PageState) -> Self {
        match state {
            PageState::Normal => Self::Normal,
            PageState::Secure | PageState::HvSharing | PageState::HvUnshared => Self::Secure,
            PageState::PagedOut => Self::PagedOut,
            PageState::Shared
            | PageState::SharedInv
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv => Self::Shared,
        }
    }
}

/// What a page was seen to hold, in the order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// A ring, or an indirect table.
    Ring,
    /// A declared secret.
    Secret,
    /// Buffers that a device reads or writes.
    Buffer,
    /// Slots of the swiotlb pool.
    Swiotlb,
    /// Buffers behind the slots.
    Original,
    /// The list of a hypercall.
    Hypercall,
    /// Guest code: a section of an image, or what call chains show.
    Text,
    /// Another section of an image.
    Data,
    /// Nothing that an event tells.
    Other,
}

impl Use {
    /// What its rows are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "rings",
            Self::Secret => "secrets",
            Self::Buffer => "buffers",
            Self::Swiotlb => "swiotlb",
            Self::Original => "behind swiotlb",
            Self::Hypercall => "hypercall lists",
            Self::Text => "guest text",
            Self::Data => "guest data",
            Self::Other => "other",
        }
    }
}

/// One page's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What it holds, and whose that is.
    pub uses: Vec<(Use, String)>,
    /// Page-outs.
    pub outs: u64,
    /// Page-ins that unsealed it.
    pub ins: u64,
    /// Shares.
    pub shares: u64,
    /// Unshares.
    pub unshares: u64,
    /// Touches by the host side.
    pub touches: u64,
    /// The first event about it after it was taken in.
    pub first_seq: Option<u64>,
    /// Its states in time: (bin, state), the last of a bin.
    pub states: Vec<(u32, Shade)>,
    /// Conversions by bin.
    pub converted: Vec<(u32, u32)>,
}

impl Page {
    /// Share, unshare, page-out and page-in.
    pub fn conversions(&self) -> u64 {
        self.outs + self.ins + self.shares + self.unshares
    }

    /// The group that it is shown in.
    pub fn group(&self) -> Use {
        self.uses.iter().map(|(group, _)| *group).min().unwrap_or(Use::Other)
    }

    /// What is known of it, in words.
    pub fn label(&self) -> String {
        let mut uses: Vec<&(Use, String)> = self.uses.iter().collect();
        uses.sort();
        let words: Vec<&str> = uses.iter().map(|(_, what)| what.as_str()).collect();
        words.join(", ")
    }

    fn is_for(&mut self, group: Use, what: impl FnOnce() -> String) {
        // A few words tell enough.
        const WORDS_MAX: usize = 4;
        let known = self.uses.iter().filter(|(known, _)| *known == group).count();
        if known == 0 || (group == Use::Ring && known < WORDS_MAX) {
            let what = what();
            if !self.uses.iter().any(|(_, known)| *known == what) {
                self.uses.push((group, what));
            }
        }
    }

    /// Names what the images have in `range`, which is the page's.
    fn holds(&mut self, places: &[Place], range: &Range<u64>) {
        // A unit of 64 KiB can hold dozens of variables.
        const OBJECTS_MAX: usize = 3;
        let mut objects = 0;
        for place in places.iter().filter(|place| place.is_in(range)) {
            let group = match place.holds {
                PlaceKind::Text => Use::Text,
                PlaceKind::Data => Use::Data,
                PlaceKind::Object if objects < OBJECTS_MAX => {
                    objects += 1;
                    Use::Data
                }
                PlaceKind::Object => continue,
            };
            self.uses.push((group, place.name.clone()));
        }
    }

    /// Whether a picture of it shows anything.
    fn is_telling(&self) -> bool {
        self.conversions() > 0 || self.touches > 0 || !self.uses.is_empty()
    }
}

/// One row of the picture: a page, or neighbours with one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The first page's number.
    pub gfn: u64,
    /// How many pages.
    pub pages: u64,
    /// The first page; the counts are those of all.
    pub page: Page,
}

/// All pages of a run.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// The rows that are shown, by group, then address.
    pub rows: Vec<Row>,
    /// Rows that are not: how many pages and how many conversions.
    pub left_out: (u64, u64),
    /// Pages that were taken in and never converted or touched.
    pub quiet: u64,
    /// The page with most round trips, else most conversions, else most touches.
    pub hottest: Option<u64>,
}

impl Pages {
    /// Folds a log.
    pub fn of(head: &Head, timeline: &Timeline, records: &[Record]) -> Self {
        let facts = &head.facts;
        let mut fold = Fold { facts, pages: BTreeMap::new(), chain: None, secure: None };
        for record in records {
            fold.see(record, timeline.bin(record.t_ns));
        }
        // A page that no event is about is what its VM is.
        let rest = fold.secure.map_or((0, Shade::Normal), |bin| (bin, Shade::Secure));
        fold.pages.values_mut().for_each(|page| page.was(rest.0, rest.1));
        let score = |page: &Page| (page.outs.min(page.ins), page.conversions(), page.touches);
        let hottest = fold.pages.iter().max_by_key(|(gfn, page)| (score(page), u64::MAX - **gfn));
        let hottest = hottest.filter(|(_, page)| page.is_telling()).map(|(gfn, _)| *gfn);
        let (mut telling, quiet): (Vec<_>, Vec<_>) =
            fold.pages.into_iter().partition(|(_, page)| page.is_telling());
        let bytes = facts.machine.unit.bytes();
        for (gfn, page) in &mut telling {
            let start = gfn.saturating_mul(bytes);
            page.holds(&head.places, &(start..start.saturating_add(bytes)));
        }
        let mut rows = merged(telling);
        let mut by_score: Vec<usize> = (0..rows.len()).collect();
        by_score.sort_by_key(|at| std::cmp::Reverse(score(&rows[*at].page)));
        let mut shown = vec![false; rows.len()];
        by_score.into_iter().take(ROWS_MAX).for_each(|at| shown[at] = true);
        let left = rows.iter().zip(&shown).filter(|(_, shown)| !**shown).map(|(row, _)| row);
        let left_out =
            left.fold((0, 0), |sum, row| (sum.0 + row.pages, sum.1 + row.page.conversions()));
        let mut shown = shown.into_iter();
        rows.retain(|_| shown.next() == Some(true));
        rows.sort_by_key(|row| (row.page.group(), row.gfn));
        Self { rows, left_out, quiet: quiet.len() as u64, hottest }
    }
}

/// Neighbours that hold the same and went through the same states as often become one row.
fn merged(pages: Vec<(u64, Page)>) -> Vec<Row> {
    let history = |page: &Page| -> Vec<Shade> { page.states.iter().map(|at| at.1).collect() };
    let mut rows: Vec<Row> = Vec::new();
    for (gfn, page) in pages {
        if let Some(row) = rows.last_mut()
            && row.gfn.checked_add(row.pages) == Some(gfn)
            && row.page.uses == page.uses
            && page.states.len() <= 3
            && history(&row.page) == history(&page)
        {
            row.pages += 1;
            let sum = &mut row.page;
            sum.outs += page.outs;
            sum.ins += page.ins;
            sum.shares += page.shares;
            sum.unshares += page.unshares;
            sum.touches += page.touches;
            for (bin, count) in page.converted {
                add(&mut sum.converted, bin, count);
            }
            continue;
        }
        rows.push(Row { gfn, pages: 1, page });
    }
    rows
}

/// Adds to a sparse list of counts by bin.
fn add(counts: &mut Vec<(u32, u32)>, bin: u32, count: u32) {
    match counts.binary_search_by_key(&bin, |(at, _)| *at) {
        Ok(at) => counts[at].1 += count,
        Err(at) => counts.insert(at, (bin, count)),
    }
}

struct Fold<'a> {
    facts: &'a Facts,
    pages: BTreeMap<u64, Page>,
    /// The chain whose code was looked at last: touches of one kick share it.
    chain: Option<Chain>,
    /// When the VM became secure: of pages that were in no event until then nothing else tells.
    secure: Option<u32>,
}

impl Fold<'_> {
    fn at(&mut self, address: u64) -> &mut Page {
        let gfn = address >> self.facts.machine.unit.order();
        self.pages.entry(gfn).or_default()
    }

    fn device(&self, device: Option<DeviceIndex>) -> String {
        sentence::device(self.facts, device).to_owned()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other event is about a page")]
    fn see(&mut self, record: &Record, bin: u32) {
        match &record.event {
            Event::Page { .. } => self.page(record, bin),
            Event::Life { to: Life::Secure, .. } => self.secure = Some(bin),
            Event::Touch { device, part, gfn, chain, state, .. } => {
                let device = self.device(*device);
                let page = self.pages.entry(*gfn).or_default();
                page.was(self.secure.unwrap_or(0), Shade::of(*state));
                page.touches += 1;
                page.first_seq.get_or_insert(record.seq);
                match part {
                    Part::Desc | Part::Avail | Part::Used | Part::Indirect => {
                        page.is_for(Use::Ring, || format!("{device} {}", part.name()));
                    }
                    Part::Header | Part::Data | Part::Status => {
                        page.is_for(Use::Buffer, || format!("buffers of {device}"));
                    }
                    Part::Hypercall => page.is_for(Use::Hypercall, || "hypercall list".into()),
                }
                if let Some(chain) = chain {
                    self.code(chain);
                }
            }
            Event::Kick { chain, .. } => self.code(chain),
            Event::Bounce { slot, original, .. } => {
                self.at(*slot).is_for(Use::Swiotlb, || "swiotlb slots".into());
                self.at(*original).is_for(Use::Original, || "private buffers".into());
            }
            Event::Secret { gpa, .. } => {
                self.at(*gpa).is_for(Use::Secret, || "declared secret".into());
            }
            _ => (),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other rows are no conversions")]
    fn page(&mut self, record: &Record, bin: u32) {
        let Event::Page { gfn, op, from, to, effect, .. } = &record.event else { return };
        let page = self.pages.entry(*gfn).or_default();
        page.was(self.secure.unwrap_or(0), Shade::of(*from));
        let converted = match op {
            PageOp::PageOut => &mut page.outs,
            PageOp::PageIn if *effect == Effect::Unseal => &mut page.ins,
            PageOp::ShareCommit => &mut page.shares,
            PageOp::UnshareCommit if *effect == Effect::ZeroSecure => &mut page.unshares,
            _ => return page.now(bin, Shade::of(*to)),
        };
        *converted += 1;
        page.first_seq.get_or_insert(record.seq);
        add(&mut page.converted, bin, 1);
        page.now(bin, Shade::of(*to));
    }

    /// Where a call chain ran.
    fn code(&mut self, chain: &Chain) {
        if self.chain.as_ref().is_some_and(|known| std::sync::Arc::ptr_eq(known, chain)) {
            return;
        }
        self.chain = Some(chain.clone());
        for frame in chain.iter().take(4) {
            self.at(frame.pc).is_for(Use::Text, || "code that kicks".into());
        }
    }
}

impl Page {
    /// What it was before the first event about it.
    fn was(&mut self, since: u32, shade: Shade) {
        if self.states.is_empty() {
            self.states.push((since, shade));
        }
    }

    fn now(&mut self, bin: u32, shade: Shade) {
        debug_assert!(bin < BINS);
        match self.states.last_mut() {
            Some(last) if last.0 == bin => last.1 = shade,
            Some(last) if last.1 == shade => (),
            Some(_) | None => self.states.push((bin, shade)),
        }
    }
}
