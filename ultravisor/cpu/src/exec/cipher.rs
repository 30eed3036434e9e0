//! AES-NI and PCLMULQDQ, as pure functions. (Rounds are RustCrypto's.)

use aes::Block;
use aes::hazmat::{cipher_round, equiv_inv_cipher_round, inv_mix_columns, mix_columns};

/// Applies `f` to a register as the block that it is.
fn on_block(value: u128, f: impl FnOnce(&mut Block)) -> u128 {
    let mut block = Block::from(value.to_le_bytes());
    f(&mut block);
    u128::from_le_bytes(block.into())
}

/// One round of encryption.
#[must_use]
pub fn aesenc(a: u128, key: u128) -> u128 {
    on_block(a, |block| cipher_round(block, &key.to_le_bytes().into()))
}

/// The last round, which mixes no columns.
#[must_use]
pub fn aesenclast(a: u128, key: u128) -> u128 {
    key ^ on_block(a, |block| {
        cipher_round(block, &Block::default());
        inv_mix_columns(block);
    })
}

/// One round of decryption.
#[must_use]
pub fn aesdec(a: u128, key: u128) -> u128 {
    on_block(a, |block| equiv_inv_cipher_round(block, &key.to_le_bytes().into()))
}

/// The last round, which mixes no columns.
#[must_use]
pub fn aesdeclast(a: u128, key: u128) -> u128 {
    key ^ on_block(a, |block| {
        equiv_inv_cipher_round(block, &Block::default());
        mix_columns(block);
    })
}

/// The columns mixed backwards.
#[must_use]
pub fn aesimc(b: u128) -> u128 {
    on_block(b, inv_mix_columns)
}

/// The S-box on four bytes.
fn substitute(word: u32) -> u32 {
    // Four equal columns are as they were after their rows have been shifted.
    let columns = u128::from(word) * 0x0000_0001_0000_0001_0000_0001_0000_0001;
    aesenclast(columns, 0) as u32
}

/// What a key's expansion needs of `b`: its odd words through the S-box, as they are and rotated.
#[must_use]
pub fn aeskeygenassist(b: u128, constant: u8) -> u128 {
    let word = |i: u32| substitute((b >> (32 * i)) as u32);
    let turned = |i: u32| word(i).rotate_right(8) ^ u32::from(constant);
    [turned(3), word(3), turned(1), word(1)]
        .into_iter()
        .fold(0, |out, word| out << 32 | u128::from(word))
}

/// The product without carries of the quadwords that `order` names.
#[must_use]
pub fn pclmulqdq(a: u128, b: u128, order: u8) -> u128 {
    let half = |value: u128, bit: u8| (value >> (64 * u32::from(order >> bit & 1))) as u64;
    let (x, y) = (half(a, 0), half(b, 4));
    (0..64).filter(|i| y >> i & 1 != 0).fold(0, |out, i| out ^ u128::from(x) << i)
}
