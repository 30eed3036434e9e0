//! Declared secrets, and whether one shows where it must not.

use aho_corasick::AhoCorasick;

/// A secret shows when this many of its bytes in a row do.
pub const WINDOW: usize = 16;

/// Most bytes that one secret may have; more is cut.
pub const SECRET_MAX: usize = 4096;

/// All secrets that the guest declared.
#[derive(Default)]
pub struct Secrets {
    windows: Vec<Vec<u8>>,
    finder: Option<AhoCorasick>,
}

impl Secrets {
    /// Adds one. Shorter than [`WINDOW`], it can never show.
    pub fn add(&mut self, secret: &[u8]) {
        self.windows.extend(secret.windows(WINDOW).map(<[u8]>::to_vec));
        self.windows.sort();
        self.windows.dedup();
        self.finder = AhoCorasick::new(&self.windows).ok();
    }

    /// Whether any was declared.
    pub fn any(&self) -> bool {
        self.finder.is_some()
    }

    /// Where in `bytes` a secret shows first.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.finder.as_ref()?.find(bytes).map(|found| found.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_of_a_secret_show_and_fifteen_do_not() {
        let secret: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0x5a).collect();
        let mut secrets = Secrets::default();
        secrets.add(&secret);
        let mut page = vec![0; 4096];
        page[100..115].copy_from_slice(&secret[7..22]);
        assert_eq!(secrets.find(&page), None);
        page[115] = secret[22];
        assert_eq!(secrets.find(&page), Some(100));
    }

    #[test]
    fn without_a_secret_nothing_shows() {
        assert!(!Secrets::default().any());
        assert_eq!(Secrets::default().find(&[0; 64]), None);
    }
}
