//! Declared secrets, and whether one shows where it must not.

use aho_corasick::{AhoCorasick, packed};
use std::cell::OnceCell;

/// A secret shows when this many of its bytes in a row do.
pub const WINDOW: usize = 16;
/// Bytes of all secrets together; what is declared beyond is refused.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// How many secrets there may be; what is declared beyond is refused.
pub const SECRETS_MAX: usize = 256;
/// [`WINDOW`] bytes in a row of a secret.
type Window = [u8; WINDOW];
/// Any [`WINDOW`] bytes of a secret hold one whole chunk of this many bytes, counted from the
/// secret's start. So it is enough to search for chunks, and few patterns search fast.
const CHUNK: usize = WINDOW / 2;
/// From how many chunks on the vector search is no longer the faster one.
const FEW: usize = 64;

/// All secrets that the guest declared.
#[derive(Default)]
pub struct Secrets {
    secrets: Vec<Vec<u8>>,
    /// Made anew by the first search after a secret was added: a guest may add many in a row.
    finder: OnceCell<Option<Finder>>,
}

/// Finds chunks, and tells by the windows around one whether a secret shows there: the guest has
/// chosen both secrets and memory, and no place may cost more than any other.
struct Finder {
    chunks: Chunks,
    /// All of all secrets, sorted.
    windows: Vec<Window>,
}

enum Chunks {
    Few(packed::Searcher),
    Many(AhoCorasick),
}

impl Secrets {
    /// Adds one.
    ///
    /// *Returns* whether it is long enough to show, and there was room for it.
    pub fn add(&mut self, secret: &[u8]) -> bool {
        if !self.takes(secret.len()) {
            return false;
        }
        self.secrets.push(secret.to_vec());
        self.finder.take();
        true
    }

    /// Whether a secret of `bytes` bytes can be added. One shorter than [`WINDOW`] would never show.
    pub fn takes(&self, bytes: usize) -> bool {
        let held: usize = self.secrets.iter().map(Vec::len).sum();
        bytes >= WINDOW && self.secrets.len() < SECRETS_MAX && bytes <= SECRET_BYTES_MAX - held
    }

    fn search(&self) -> Option<Finder> {
        if !self.any() {
            return None;
        }
        let chunks = || self.secrets.iter().flat_map(|secret| secret.chunks_exact(CHUNK));
        let few = (chunks().count() <= FEW).then(|| packed::Searcher::new(chunks())).flatten();
        let chunks = match few {
            Some(few) => Chunks::Few(few),
            None => Chunks::Many(AhoCorasick::new(chunks()).ok()?),
        };
        let windows = |secret: &Vec<u8>| -> Vec<Window> {
            secret.windows(WINDOW).filter_map(|window| window.try_into().ok()).collect()
        };
        let mut windows: Vec<Window> = self.secrets.iter().flat_map(windows).collect();
        windows.sort_unstable();
        windows.dedup();
        Some(Finder { chunks, windows })
    }

    /// Whether any was declared.
    pub fn any(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Where in `bytes` a secret shows first.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let finder = self.finder.get_or_init(|| self.search()).as_ref()?;
        let mut from = 0;
        while from < bytes.len() {
            let at = finder.chunks.find(bytes, from)?;
            if let Some(start) = finder.shown(bytes, at) {
                return Some(start);
            }
            from = at + 1;
        }
        None
    }
}

impl Chunks {
    /// Where in `bytes` the first one from `from` on is.
    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        match self {
            Self::Few(few) => {
                few.find_in(bytes, (from..bytes.len()).into()).map(|found| found.start())
            }
            Self::Many(many) => {
                let input = aho_corasick::Input::new(bytes).span(from..bytes.len());
                many.find(input).map(|found| found.start())
            }
        }
    }
}

impl Finder {
    /// Where the first of the windows around the chunk at `at` starts that is of a secret.
    fn shown(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let is_of_one = |start: &usize| {
            bytes
                .get(*start..start + WINDOW)
                .and_then(|window| <&Window>::try_from(window).ok())
                .is_some_and(|window| self.windows.binary_search(window).is_ok())
        };
        (at.saturating_sub(WINDOW - CHUNK)..=at).find(is_of_one)
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
        assert!(!secrets.add(&[1; WINDOW - 1]), "it would never show");
        for _ in 0..SECRETS_MAX {
            assert!(secrets.add(&[1; WINDOW]));
        }
        assert!(!secrets.add(&[1; WINDOW]), "there may be {SECRETS_MAX} secrets");
    }
}
