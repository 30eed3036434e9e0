//! Decoded blocks: where they are kept, how they are found, and when they are dropped.
//!
//! A block belongs to a guest-physical page and was decoded for one guest-virtual address.
//! Shortcuts between blocks (links, the jump cache) carry an epoch; whatever may make one of them
//! wrong starts the next epoch, so nothing has to be hunted down. Where a shortcut may be taken by
//! one privilege level and not by another, each has an epoch of its own.

use crate::form::Form;
use crate::mem::PAGE;
use crate::uop::{Code, Flow, Uop};
use std::collections::BTreeMap;

/// The most uops that a block has.
pub(crate) const UOPS_MAX: usize = 64;
/// The most uops kept before all are dropped: about 50 MB.
const UOPS_KEPT_MAX: usize = 1 << 20;
const JUMPS: usize = 4096;
const STOPS: usize = 64;
/// Bytes per bit of a code page's line mask.
const LINE: u64 = PAGE / 64;

/// Who executes code, as far as it decides where shortcuts lead: each [`Form`], user or not.
pub(crate) const CONTEXTS: usize = 8;

/// The number of a block, valid in the epoch it was looked up in.
pub(crate) type BlockId = u32;

/// A shortcut to a block.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    epoch: u64,
    id: BlockId,
}

/// A straight run of instructions.
pub(crate) struct Block {
    /// The instruction pointer of its first instruction.
    pub va: u64,
    /// Where that is: another number only if the code segment has a base.
    pub linear: u64,
    pub form: Form,
    /// The address behind the last instruction.
    pub end: u64,
    pub code: Code,
    /// How many instructions.
    pub count: u64,
    /// For an instruction across a page boundary: the second guest-physical page. Such a block is
    /// looked up each time, because its second page may be mapped elsewhere meanwhile.
    pub second: Option<u64>,
    /// Its number, once it is kept.
    pub id: BlockId,
    frame: u64,
    links: [Link; 2],
}

impl Block {
    /// A block at `va` in guest-physical page `frame`.
    pub fn new(va: u64, end: u64, frame: u64, uops: impl Iterator<Item = Uop>, count: u64) -> Self {
        let links = [Link::default(); 2];
        Self {
            va,
            linear: va,
            form: Form::Long,
            end,
            code: Code::new(uops),
            count,
            second: None,
            id: BlockId::MAX,
            frame,
            links,
        }
    }

    /// What tells it from others that have bytes in the same page.
    const fn key(&self) -> Key {
        (self.va, self.frame, self.form)
    }
}

/// Instruction pointer, guest-physical page, and how the bytes there are decoded. Where one has
/// several linear addresses [`Blocks`] is cleared in between.
type Key = (u64, u64, Form);

#[derive(Clone, Copy)]
struct Jump {
    va: u64,
    link: Link,
}

/// Which 64-byte lines of guest-physical pages have been decoded.
#[derive(Debug, Default)]
pub(crate) struct CodeMap(BTreeMap<u64, u64>);

impl CodeMap {
    /// Whether any code of page `frame` is decoded.
    pub fn holds(&self, frame: u64) -> bool {
        self.0.contains_key(&frame)
    }

    /// Which decoded lines of page `frame` lie in `bytes` bytes from `offset`.
    pub fn hit(&self, frame: u64, offset: u64, bytes: u64) -> u64 {
        self.0.get(&frame).map_or(0, |decoded| decoded & lines(offset, bytes))
    }

    fn add(&mut self, frame: u64, lines: u64) {
        *self.0.entry(frame).or_default() |= lines;
    }
}

/// The lines of `bytes` bytes from `offset`, cut at the page's end.
fn lines(offset: u64, bytes: u64) -> u64 {
    if bytes == 0 {
        return 0;
    }
    let (first, last) = (offset / LINE, ((offset + bytes - 1) / LINE).min(63));
    (u64::MAX >> (63 - (last - first.min(last)))) << first.min(63)
}

/// All decoded blocks.
#[derive(Default)]
pub(crate) struct Blocks {
    arena: Vec<Block>,
    free: Vec<BlockId>,
    /// Empty until the first use.
    jumps: Vec<Jump>,
    /// The blocks at breakpoints, to go on from there. Apart from the others, so that no way from
    /// block to block leads past the question whether to stop. Empty until the first use.
    stops: Vec<Jump>,
    /// By guest-physical page: the blocks that have bytes there.
    pages: BTreeMap<u64, Vec<BlockId>>,
    uops: usize,
    /// Links of other epochs are not followed. Zero is never current while a block is kept.
    epoch: u64,
    /// The newest epoch of any context.
    newest: u64,
    context: usize,
    /// The epochs of the other contexts; zero for a new one.
    parked: [u64; CONTEXTS],
}

impl Blocks {
    #[inline(always)]
    pub fn block(&self, id: BlockId) -> Option<&Block> {
        self.arena.get(id as usize)
    }

    /// The block that `from` leads to by `edge`, if that is known.
    #[inline(always)]
    pub fn linked(&self, from: &Block, edge: Flow) -> Option<BlockId> {
        let link = from.links.get(edge as usize)?;
        (link.epoch == self.epoch).then_some(link.id)
    }

    /// Remembers that `from` leads to `to` by `edge`, if that is a way that always leads there.
    pub fn link(&mut self, from: BlockId, edge: Flow, to: BlockId) {
        let link = Link { epoch: self.epoch, id: to };
        let edge = if edge == Flow::Counted { Flow::Through } else { edge };
        if let Some(block) = self.arena.get_mut(from as usize)
            && let Some(slot) = block.links.get_mut(edge as usize)
        {
            *slot = link;
        }
    }

    /// The block at guest-virtual `va`, if the jump cache has it.
    #[inline(always)]
    pub fn jump(&self, va: u64) -> Option<BlockId> {
        let jump = self.jumps.get(jump_index(va))?;
        (jump.va == va && jump.link.epoch == self.epoch).then_some(jump.link.id)
    }

    /// Enters block `id` into the jump cache.
    pub fn remember(&mut self, va: u64, id: BlockId) {
        enter(&mut self.jumps, JUMPS, Jump { va, link: Link { epoch: self.epoch, id } });
    }

    /// The block at the breakpoint `va`, if it was run before.
    pub fn stop(&self, va: u64) -> Option<BlockId> {
        let stop = self.stops.get(jump_index(va) % STOPS)?;
        (stop.va == va && stop.link.epoch == self.epoch).then_some(stop.link.id)
    }

    /// Notes block `id` at the breakpoint `va`.
    pub fn remember_stop(&mut self, va: u64, id: BlockId) {
        enter(&mut self.stops, STOPS, Jump { va, link: Link { epoch: self.epoch, id } });
    }

    /// The block decoded for `va` in page `frame` as `form`.
    pub fn find(&self, frame: u64, va: u64, form: Form) -> Option<BlockId> {
        let ids = self.pages.get(&frame)?;
        let found = ids.binary_search_by_key(&(va, frame, form), |&id| {
            self.arena.get(id as usize).map_or((0, 0, form), Block::key)
        });
        found.ok().map(|at| ids[at])
    }

    /// Keeps a block. All earlier shortcuts stay valid.
    pub fn insert(&mut self, mut block: Block, code: &mut CodeMap) -> BlockId {
        if self.uops + block.code.uops().len() > UOPS_KEPT_MAX {
            self.clear(code);
        }
        if self.epoch == 0 {
            self.next_epoch();
        }
        self.uops += block.code.uops().len();
        let (key, frame, second) = (block.key(), block.frame, block.second);
        let bytes = block.form.cut(block.end.wrapping_sub(block.va));
        let offset = block.linear % PAGE;
        code.add(frame, lines(offset, bytes));
        if let Some(second) = second {
            code.add(second, lines(0, (offset + bytes).saturating_sub(PAGE)));
        }
        let id = match self.free.pop() {
            Some(id) => {
                block.id = id;
                self.arena[id as usize] = block;
                id
            }
            None => {
                block.id = self.arena.len() as BlockId;
                self.arena.push(block);
                (self.arena.len() - 1) as BlockId
            }
        };
        for page in core::iter::once(frame).chain(second.filter(|&second| second != frame)) {
            let arena = &self.arena;
            let ids = self.pages.entry(page).or_default();
            let at = ids.partition_point(|&other| {
                arena.get(other as usize).is_some_and(|other| other.key() < key)
            });
            ids.insert(at, id);
        }
        id
    }

    /// Drops the blocks of pages `first` to `last`.
    pub fn forget(&mut self, first: u64, last: u64, code: &mut CodeMap) {
        let known: Vec<u64> = self.pages.range(first..=last).map(|(&frame, _)| frame).collect();
        for frame in known {
            self.drop_page(frame, code);
        }
    }

    fn drop_page(&mut self, frame: u64, code: &mut CodeMap) {
        code.0.remove(&frame);
        self.next_epoch();
        for id in self.pages.remove(&frame).unwrap_or_default() {
            let Some(block) = self.arena.get_mut(id as usize) else {
                continue;
            };
            self.uops -= block.code.uops().len();
            block.code = Code::default();
            let others = [Some(block.frame), block.second];
            for other in others.into_iter().flatten().filter(|&other| other != frame) {
                if let Some(ids) = self.pages.get_mut(&other) {
                    ids.retain(|&kept| kept != id);
                }
            }
            self.free.push(id);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self, code: &mut CodeMap) {
        self.arena.clear();
        self.free.clear();
        self.pages.clear();
        self.uops = 0;
        self.next_epoch();
        code.0.clear();
    }

    /// The number of the epoch; links and block numbers of another one are worth nothing.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Mappings changed: every block is looked up by its physical page again, in all contexts.
    pub fn next_epoch(&mut self) {
        self.newest += 1;
        self.epoch = self.newest;
        self.parked = [0; CONTEXTS];
    }

    /// Code is executed in `context` from now on.
    pub fn enter(&mut self, context: usize) {
        let context = context % CONTEXTS;
        if context == self.context {
            return;
        }
        self.parked[self.context] = self.epoch;
        self.context = context;
        self.epoch = core::mem::take(&mut self.parked[context]);
        if self.epoch == 0 {
            self.newest += 1;
            self.epoch = self.newest;
        }
    }
}

/// Enters `jump` into a cache of `size` entries.
fn enter(cache: &mut Vec<Jump>, size: usize, jump: Jump) {
    if cache.is_empty() {
        *cache = vec![Jump { va: 0, link: Link::default() }; size];
    }
    cache[jump_index(jump.va) % size] = jump;
}

const fn jump_index(va: u64) -> usize {
    (va ^ (va >> 12)) as usize % JUMPS
}
