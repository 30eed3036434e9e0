//! Sealing: how a unit leaves secure memory, and how it is let back in.
//!
//! AES-128-GCM, one key per SVM, a 96-bit nonce of a fixed field and one 64-bit counter per SVM
//! that never repeats, a 128-bit tag that stays here (firmware `core/page_encrypt.c`; the kernel's
//! ABI document names AES-IAPM instead). Associated data: SVM id, unit address, counter. So an
//! older version of the unit, another unit of the SVM and another SVM's unit all fail to verify.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce, Tag};
use sha2::{Digest, Sha256};
use ultravisor_abi::Gpa;
use zeroize::Zeroize;

/// What the ultravisor keeps of a sealed unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    counter: u64,
    tag: [u8; 16],
}

impl Seal {
    /// What `pef-unsealed` keeps of a unit that it only copied.
    pub(crate) const fn none() -> Self {
        Self { counter: 0, tag: [0; 16] }
    }
}

/// The unit did not verify: it is not what was sealed last under this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotVerified;

/// An SVM's cipher. It has no `Debug` and no `Serialize` on purpose.
pub struct Sealer {
    cipher: Aes128Gcm,
    svm_id: u64,
    fixed: [u8; 4],
    counter: u64,
}

impl Sealer {
    /// The cipher of SVM `svm_id`. The key is drawn from `seed`, so that runs repeat.
    pub fn new(svm_id: u64, seed: u64) -> Self {
        let mut drawn: [u8; 32] = Sha256::new()
            .chain_update(b"uvsim svm key")
            .chain_update(svm_id.to_le_bytes())
            .chain_update(seed.to_le_bytes())
            .finalize()
            .into();
        let mut key = [0; 16];
        key.copy_from_slice(&drawn[..16]);
        let mut fixed = [0; 4];
        fixed.copy_from_slice(&drawn[16..20]);
        let sealer = Self::with_key(&key, fixed, svm_id);
        key.zeroize();
        drawn.zeroize();
        sealer
    }

    fn with_key(key: &[u8; 16], fixed: [u8; 4], svm_id: u64) -> Self {
        Self { cipher: Aes128Gcm::new(key.into()), svm_id, fixed, counter: 0 }
    }

    /// Encrypts `plain` into `sealed` (same length) for the unit at `at`.
    ///
    /// # Panics
    /// When 2^64 units were sealed: a nonce must never repeat.
    pub fn seal(&mut self, at: Gpa, plain: &[u8], sealed: &mut [u8]) -> Seal {
        self.counter = self.counter.checked_add(1).expect("2^64 nonces do not run out");
        let aad = self.associated(at, self.counter);
        let inout = InOutBuf::new(plain, sealed).expect("both are one unit");
        let tag = self
            .cipher
            .encrypt_inout_detached(&self.nonce(self.counter), &aad, inout)
            .expect("a unit is shorter than GCM's 64 GiB");
        Seal { counter: self.counter, tag: tag.into() }
    }

    /// What [`Self::seal`] would write now, without the use of a nonce that counts.
    pub fn preview(&self, at: Gpa, plain: &[u8], sealed: &mut [u8]) {
        let next = self.counter.saturating_add(1);
        let inout = InOutBuf::new(plain, sealed).expect("both are one unit");
        self.cipher
            .encrypt_inout_detached(&self.nonce(next), &self.associated(at, next), inout)
            .expect("a unit is shorter than GCM's 64 GiB");
    }

    /// Verifies `sealed` and decrypts it into `plain` (same length).
    ///
    /// # Errors
    /// [`NotVerified`]; nothing was written to `plain` then.
    pub fn unseal(
        &self,
        at: Gpa,
        seal: &Seal,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), NotVerified> {
        let aad = self.associated(at, seal.counter);
        let inout = InOutBuf::new(sealed, plain).expect("both are one unit");
        let tag = Tag::from(seal.tag);
        self.cipher
            .decrypt_inout_detached(&self.nonce(seal.counter), &aad, inout, &tag)
            .map_err(|_| NotVerified)
    }

    fn nonce(&self, counter: u64) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.fixed);
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        nonce.into()
    }

    fn associated(&self, at: Gpa, counter: u64) -> [u8; 24] {
        let mut aad = [0; 24];
        aad[..8].copy_from_slice(&self.svm_id.to_le_bytes());
        aad[8..16].copy_from_slice(&at.0.to_le_bytes());
        aad[16..].copy_from_slice(&counter.to_le_bytes());
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Gpa = Gpa(0x30_0000);

    fn sealed_unit() -> (Sealer, Vec<u8>, Vec<u8>, Seal) {
        let mut sealer = Sealer::new(1, 7);
        let plain: Vec<u8> = (0..4096u32).map(|i| (i * 7) as u8).collect();
        let mut out = vec![0; 4096];
        let seal = sealer.seal(AT, &plain, &mut out);
        (sealer, plain, out, seal)
    }

    #[test]
    fn what_is_sealed_comes_back() {
        let (sealer, plain, sealed, seal) = sealed_unit();
        assert_ne!(plain, sealed);
        let mut back = vec![0; 4096];
        assert_eq!(sealer.unseal(AT, &seal, &sealed, &mut back), Ok(()));
        assert_eq!(back, plain);
    }

    #[test]
    fn the_same_bytes_sealed_twice_look_different() {
        let (mut sealer, plain, first, seal) = sealed_unit();
        let mut second = vec![0; 4096];
        let again = sealer.seal(AT, &plain, &mut second);
        assert_ne!(first, second);
        assert_ne!(seal.counter, again.counter);
    }

    #[test]
    fn any_flipped_bit_is_refused_and_nothing_is_released() {
        let (sealer, _, mut sealed, seal) = sealed_unit();
        for bit in (0..4096 * 8).step_by(97) {
            sealed[bit / 8] ^= 1 << (bit % 8);
            let mut back = vec![0xa5; 4096];
            assert_eq!(sealer.unseal(AT, &seal, &sealed, &mut back), Err(NotVerified));
            assert!(back.iter().all(|byte| *byte == 0xa5), "bit {bit}: plaintext was released");
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        for bit in 0..128 {
            let mut tag = seal.tag;
            tag[bit / 8] ^= 1 << (bit % 8);
            let wrong = Seal { tag, ..seal };
            assert!(sealer.unseal(AT, &wrong, &sealed, &mut vec![0; 4096]).is_err());
        }
    }

    #[test]
    fn an_older_version_another_address_and_another_svm_are_refused() {
        let (mut sealer, plain, old, old_seal) = sealed_unit();
        let mut new = vec![0; 4096];
        let new_seal = sealer.seal(AT, &plain, &mut new);
        let mut back = vec![0; 4096];
        assert!(sealer.unseal(AT, &new_seal, &old, &mut back).is_err());
        assert!(sealer.unseal(AT, &old_seal, &new, &mut back).is_err());
        assert!(sealer.unseal(Gpa(AT.0 + 4096), &new_seal, &new, &mut back).is_err());
        assert!(Sealer::new(2, 7).unseal(AT, &new_seal, &new, &mut back).is_err());
        assert!(Sealer::new(1, 8).unseal(AT, &new_seal, &new, &mut back).is_err());
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.bytes().map(|c| char::from(c).to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 4: the
    /// cipher under [`Sealer`] is the standard's.
    #[test]
    fn the_cipher_gives_the_known_answer() {
        let key = bytes("feffe9928665731c6d6a8f9467308308");
        let nonce = bytes("cafebabefacedbaddecaf888");
        let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let mut text = bytes(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ));
        let key: [u8; 16] = key.try_into().unwrap();
        let nonce: [u8; 12] = nonce.try_into().unwrap();
        let cipher = Aes128Gcm::new(&key.into());
        let tag =
            cipher.encrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into()).unwrap();
        let expected = bytes(concat!(
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e",
            "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        ));
        assert_eq!(text, expected);
        assert_eq!(tag.to_vec(), bytes("5bc94fbc3221a5db94fae95ae7121a47"));
    }

    /// Computed with another implementation (OpenSSL's AES-128-GCM) from the layout in this
    /// file's head: fixed field, counter and associated data are where they should be.
    #[test]
    fn nonce_and_associated_data_are_laid_out_as_documented() {
        let mut sealer = Sealer::with_key(&[0x11; 16], [0xf1, 0xf2, 0xf3, 0xf4], 5);
        let mut sealed = [0; 16];
        let seal = sealer.seal(Gpa(0x1_0000), b"sixteen bytes ok", &mut sealed);
        assert_eq!(sealed.to_vec(), bytes("dc4dcaa97bd0cb2dfc43f05e1d3dbd3f"));
        assert_eq!(seal.tag.to_vec(), bytes("4e96d1ba89de45a3f21347dfb1d68b68"));
    }
}
