//! Declared secrets, and whether one shows where it must not.

use aho_corasick::{AhoCorasick, packed};
use std::cell::OnceCell;

/// A secret shows when this many of its bytes in a row do.
pub const WINDOW: usize = 16;
/// Bytes of all secrets together; what is declared beyond is refused.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// How many secrets there may be; what is declared beyond is refused.
pub const SECRETS_MAX: usize = 256;
/// Any [`WINDOW`] bytes of a secret hold one whole chunk of this many bytes, counted from the
/// secret's start. So it is enough to search for chunks, and few patterns search fast.
const CHUNK: usize = WINDOW / 2;
/// From how many chunks on the vector search is no longer the faster one.
const FEW: usize = 64;

/// All secrets that the guest declared.
#[derive(Default)]
pub struct Secrets {
    secrets: Vec<Vec<u8>>,
    /// Each chunk of each secret: (which secret, where in it).
    chunks: Vec<(usize, usize)>,
    /// Made anew by the first search after a secret was added: a guest may add many in a row.
    finder: OnceCell<Option<Finder>>,
}

enum Finder {
    Few(packed::Searcher),
    Many(AhoCorasick),
}

impl Secrets {
    /// Adds one. Shorter than [`WINDOW`], it can never show.
    ///
    /// *Returns* whether there was room for it.
    pub fn add(&mut self, secret: &[u8]) -> bool {
        if !self.has_room(secret.len()) {
            return false;
        }
        let whole = secret.len() / CHUNK;
        self.chunks.extend((0..whole).map(|chunk| (self.secrets.len(), chunk * CHUNK)));
        self.secrets.push(secret.to_vec());
        self.finder.take();
        true
    }

    /// Whether a secret of `bytes` bytes can be added.
    pub fn has_room(&self, bytes: usize) -> bool {
        let held: usize = self.secrets.iter().map(Vec::len).sum();
        self.secrets.len() < SECRETS_MAX && bytes <= SECRET_BYTES_MAX - held
    }

    fn search(&self) -> Option<Finder> {
        if !self.any() {
            return None;
        }
        let patterns =
            || self.chunks.iter().map(|(which, at)| &self.secrets[*which][*at..at + CHUNK]);
        if self.chunks.len() <= FEW
            && let Some(few) = packed::Searcher::new(patterns())
        {
            return Some(Finder::Few(few));
        }
        AhoCorasick::new(patterns()).ok().map(Finder::Many)
    }

    /// Whether any was declared.
    pub fn any(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// Where in `bytes` a secret shows first.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let finder = self.finder.get_or_init(|| self.search()).as_ref()?;
        let mut from = 0;
        while from < bytes.len() {
            let (pattern, at) = match finder {
                Finder::Few(few) => {
                    let found = few.find_in(bytes, (from..bytes.len()).into())?;
                    (found.pattern(), found.start())
                }
                Finder::Many(many) => {
                    let input = aho_corasick::Input::new(bytes).span(from..bytes.len());
                    let found = many.find(input)?;
                    (found.pattern(), found.start())
                }
            };
            if let Some(start) = self.shown(bytes, at, pattern.as_usize()) {
                return Some(start);
            }
            from = at + 1;
        }
        None
    }

    /// The run of secret bytes around the chunk at `at`, if it is long enough: where it starts.
    fn shown(&self, bytes: &[u8], at: usize, pattern: usize) -> Option<usize> {
        // Equal chunks are one pattern to a searcher; any of them may continue.
        let (which, place) = self.chunks[pattern];
        let wanted = &self.secrets[which][place..place + CHUNK];
        let same = self
            .chunks
            .iter()
            .filter(|(which, place)| &self.secrets[*which][*place..place + CHUNK] == wanted);
        let runs = same.map(|(which, place)| {
            let secret = &self.secrets[*which];
            let before = secret[..*place].iter().rev().zip(bytes[..at].iter().rev());
            let before = before.take_while(|(a, b)| a == b).count();
            let after = secret[place + CHUNK..].iter().zip(&bytes[at + CHUNK..]);
            let after = after.take_while(|(a, b)| a == b).count();
            (at - before, before + CHUNK + after)
        });
        runs.filter(|(_, length)| *length >= WINDOW).map(|(start, _)| start).min()
    }
}

/// Pieces of one memory or disk, looked through in the order of their addresses: where one follows
/// upon another, a secret that lies across both shows too.
#[derive(Default)]
pub struct Sweep {
    /// The end of the pieces so far: too short to show a secret by itself.
    seam: Vec<u8>,
    /// The address behind it.
    end: u64,
}

impl Sweep {
    /// Where a secret shows first in `piece`, which begins at `start`, or across its beginning.
    pub fn find(&mut self, secrets: &Secrets, start: u64, piece: &[u8]) -> Option<u64> {
        if self.end != start {
            self.seam.clear();
        }
        let before = self.seam.len();
        self.seam.extend(&piece[..piece.len().min(WINDOW - 1)]);
        let across = secrets.find(&self.seam).map(|at| start - before as u64 + at as u64);
        let found = across.or_else(|| secrets.find(piece).map(|at| start + at as u64));
        self.seam.clear();
        self.seam.extend(&piece[piece.len().saturating_sub(WINDOW - 1)..]);
        self.end = start + piece.len() as u64;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Vec<u8> {
        (0..32u8).map(|i| i.wrapping_mul(37) ^ 0x5a).collect()
    }

    #[test]
    fn sixteen_bytes_of_a_secret_show_and_fifteen_do_not() {
        let secret = secret();
        let mut secrets = Secrets::default();
        assert!(secrets.add(&secret));
        for first in 0..=secret.len() - WINDOW {
            let mut page = vec![0; 4096];
            page[100..115].copy_from_slice(&secret[first..first + 15]);
            assert_eq!(secrets.find(&page), None, "{first}");
            page[115] = secret[first + 15];
            assert_eq!(secrets.find(&page), Some(100), "{first}");
        }
    }

    #[test]
    fn a_secret_that_repeats_itself_and_many_secrets_show_too() {
        let mut secrets = Secrets::default();
        assert!(secrets.add(&[7; 40]));
        assert_eq!(secrets.find(&[7; 15]), None);
        assert_eq!(secrets.find(&[&[0; 9][..], &[7; 16]].concat()), Some(9));
        for which in 0..100u8 {
            assert!(secrets.add(&secret().iter().map(|byte| byte ^ which).collect::<Vec<u8>>()));
        }
        let shown: Vec<u8> = secret()[5..21].iter().map(|byte| byte ^ 77).collect();
        assert_eq!(secrets.find(&shown), Some(0));
    }

    #[test]
    fn a_secret_across_two_pieces_shows_where_they_lie_one_behind_the_other() {
        let secret = &secret()[..WINDOW];
        let mut secrets = Secrets::default();
        assert!(secrets.add(secret));
        for before in 1..WINDOW {
            let first = [&[0; 48][..], &secret[..before]].concat();
            let second = [&secret[before..], &[0; 48][..]].concat();
            let behind = 0x1000 + first.len() as u64;
            for (start, found) in [(behind, Some(0x1030)), (behind + 1, None)] {
                let mut sweep = Sweep::default();
                assert_eq!(sweep.find(&secrets, 0x1000, &first), None);
                assert_eq!(sweep.find(&secrets, start, &second), found, "{before}");
            }
        }
        let mut sweep = Sweep::default();
        assert_eq!(sweep.find(&secrets, 0, &[&[0; 30], secret].concat()), Some(30));
        assert_eq!(sweep.find(&secrets, 46, &[0; 64]), None, "it is told once");
    }

    #[test]
    fn without_a_secret_nothing_shows_and_too_many_are_refused() {
        let mut secrets = Secrets::default();
        assert!(!secrets.any());
        assert_eq!(secrets.find(&[0; 64]), None);
        assert!(!secrets.add(&vec![1; SECRET_BYTES_MAX + 1]));
        assert!(!secrets.any());
        for _ in 0..SECRETS_MAX {
            assert!(secrets.add(&[]));
        }
        assert!(!secrets.add(&[]), "there may be {SECRETS_MAX} secrets");
    }
}
