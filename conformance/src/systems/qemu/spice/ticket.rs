//! The ticket that a SPICE client shows when it links.
//!
//! A server without ticketing still decrypts what it is shown, and hangs up on what was not encrypted for it
//! (spice-server 0.15, `reds_handle_ticket`). It does not look at what comes out. So the padded message can be
//! the same for every link, its random seed too, and all that is left of the cryptography is one power.

/// Bytes of a ticket: one RSA block of 1024 bits.
pub(super) const BYTES: usize = 128;
/// The server's public key, as a SubjectPublicKeyInfo (RFC 5280) in DER.
pub(super) const KEY_BYTES: usize = 162;
/// Where the modulus is in it, what stands before, and what comes after: the exponent 65537.
const MODULUS: usize = 29;
const BEFORE: [u8; 4] = [0x02, 0x81, 0x81, 0x00];
const AFTER: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// An empty password, padded for RSAES-OAEP with SHA-1 and a seed of zeros (RFC 8017, 7.1.1).
const PADDED: [u8; BYTES] = [
    0x00, 0xC3, 0x85, 0xA2, 0xA6, 0xA6, 0x27, 0x99, 0xDA, 0x9A, 0x7E, 0xBB, 0xA2, 0xCD, 0x11, 0x7A,
    0x13, 0xA8, 0xC5, 0x90, 0xB3, 0x09, 0x00, 0x38, 0x9C, 0x3C, 0x90, 0x1D, 0xC6, 0xAC, 0x85, 0xEC,
    0x39, 0x18, 0xD9, 0x31, 0x8C, 0xEE, 0xD0, 0x3E, 0xCD, 0xA4, 0xFA, 0x64, 0x7D, 0xEF, 0xA2, 0x21,
    0xE1, 0xF7, 0x20, 0xC8, 0x56, 0xFD, 0x89, 0x39, 0x73, 0xD2, 0x39, 0xD2, 0x27, 0x3C, 0x97, 0xF1,
    0x5E, 0xD9, 0x0E, 0x4B, 0x7F, 0xC2, 0x4C, 0x96, 0x36, 0xFE, 0xA5, 0x67, 0x3A, 0xB5, 0x86, 0xD7,
    0x50, 0x59, 0xFE, 0x17, 0xE5, 0x89, 0xB1, 0x1C, 0xF7, 0x0F, 0xDB, 0xE0, 0x8A, 0xF1, 0xE8, 0xB5,
    0x8E, 0xCA, 0x52, 0xDC, 0xFA, 0x86, 0x3D, 0xFC, 0xFE, 0x82, 0x52, 0xF2, 0xB9, 0xB1, 0xB7, 0x36,
    0xF5, 0x36, 0xCC, 0xD3, 0xD4, 0x62, 0x6B, 0xFE, 0x07, 0x30, 0xE5, 0xBE, 0x03, 0x3A, 0xCB, 0x7A,
];

/// A ticket for the server with this key. `None`: the key is not RSA of 1024 bits with exponent 65537.
pub(super) fn for_key(key: &[u8; KEY_BYTES]) -> Option<[u8; BYTES]> {
    let (before, modulus) = key[..MODULUS + BYTES].split_last_chunk::<BYTES>()?;
    if !before.ends_with(&BEFORE) || key[MODULUS + BYTES..] != AFTER {
        return None;
    }
    Some(to_the_65537th(&PADDED, modulus))
}

/// 64 bits each, the lowest first.
type Number = [u64; BYTES / 8];

fn to_the_65537th(base: &[u8; BYTES], modulus: &[u8; BYTES]) -> [u8; BYTES] {
    let (base, modulus) = (number(base), number(modulus));
    let mut power = base;
    for _ in 0..16 {
        power = product(&power, &power, &modulus);
    }
    let mut bytes = [0; BYTES];
    let limbs = product(&power, &base, &modulus);
    for (chunk, limb) in bytes.chunks_exact_mut(8).zip(limbs.iter().rev()) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

fn number(bytes: &[u8; BYTES]) -> Number {
    let mut number = [0; BYTES / 8];
    for (limb, chunk) in number.iter_mut().rev().zip(bytes.chunks_exact(8)) {
        *limb = chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
    }
    number
}

/// Bit by bit, reduced all the way: a few milliseconds, once for each link.
fn product(a: &Number, b: &Number, modulus: &Number) -> Number {
    let mut sum = [0; BYTES / 8];
    for bit in (0..8 * BYTES).rev() {
        sum = add(&sum, &sum, modulus);
        if b[bit / 64] >> (bit % 64) & 1 == 1 {
            sum = add(&sum, a, modulus);
        }
    }
    sum
}

/// Of two numbers below the modulus.
fn add(a: &Number, b: &Number, modulus: &Number) -> Number {
    let (mut sum, mut carry) = ([0; BYTES / 8], false);
    for (limb, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
        let (once, first) = a.overflowing_add(*b);
        let (twice, second) = once.overflowing_add(carry.into());
        (*limb, carry) = (twice, first || second);
    }
    if carry || sum.iter().rev().ge(modulus.iter().rev()) {
        let mut borrow = false;
        for (limb, modulus) in sum.iter_mut().zip(modulus) {
            let (once, first) = limb.overflowing_sub(*modulus);
            let (twice, second) = once.overflowing_sub(borrow.into());
            (*limb, borrow) = (twice, first || second);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modulus is no product of two primes; a power does not mind. Computed by Python's `pow`.
    #[test]
    fn a_power_is_that_of_another_program() {
        let mut modulus = [0xBB; BYTES];
        let power = to_the_65537th(&PADDED, &modulus);
        assert_eq!(power[..8], [0x47, 0x28, 0xBE, 0x8C, 0xD8, 0x92, 0x8D, 0xAF]);
        assert_eq!(power[BYTES - 8..], [0x7F, 0xE4, 0x84, 0x4C, 0x3F, 0x88, 0xEC, 0xF9]);
        modulus[0] = 0xBC;
        assert_ne!(to_the_65537th(&PADDED, &modulus), power);
    }

    #[test]
    fn a_key_of_another_kind_is_not_taken_for_one() {
        let mut key = [0xBB; KEY_BYTES];
        key[MODULUS - 4..MODULUS].copy_from_slice(&BEFORE);
        key[MODULUS + BYTES..].copy_from_slice(&AFTER);
        assert!(for_key(&key).is_some());
        key[KEY_BYTES - 1] = 3;
        assert!(for_key(&key).is_none(), "another exponent");
        key[KEY_BYTES - 1] = 1;
        key[MODULUS - 1] = 1;
        assert!(for_key(&key).is_none(), "another length");
    }
}
