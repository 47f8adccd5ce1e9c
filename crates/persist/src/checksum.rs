//! CRC-64 as Redis counts it (Jones' polynomial, reflected, start 0): of files, payloads, chunks.
//!
//! Not for: secrets. Whoever can write a file can also write its checksum.

use crc_fast::{CrcAlgorithm, Digest};

/// Jones' polynomial, reflected.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// A checksum that grows with the bytes.
#[derive(Clone, Debug)]
pub struct Checksum(Digest);

impl Default for Checksum {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Redis))
    }
}

impl Checksum {
    /// Takes the next bytes in.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of some bytes.
pub fn of(bytes: &[u8]) -> u64 {
    let mut sum = Checksum::default();
    sum.add(bytes);
    sum.value()
}

/// The checksum of bytes that have the checksum `sum` and of as many zeros after them.
pub const fn with_zeros(mut sum: u64, zeros: u64) -> u64 {
    let (mut left, mut power) = (zeros, ZERO);
    while left > 0 && sum != 0 {
        if left & 1 == 1 {
            sum = product(power, sum);
        }
        power = product(power, power);
        left >>= 1;
    }
    sum
}

/// What a byte of zero multiplies a checksum with: checksums are polynomials whose highest bit stands
/// for 1, the next one for x, and so on.
const ZERO: u64 = 1 << (63 - 8);

/// The product of two polynomials, modulo Jones' one.
const fn product(a: u64, mut b: u64) -> u64 {
    let (mut left, mut sum) = (a, 0);
    while left != 0 {
        sum ^= b * (left >> 63);
        left <<= 1;
        b = (b >> 1) ^ ((b & 1) * POLYNOMIAL);
    }
    sum
}

/// One byte that isn't what was summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flip {
    /// Bytes after it.
    pub after: u64,
    /// What it has to be XORed with.
    pub mask: u8,
}

/// The one byte, of the last `bytes` ones, whose change explains that the sum is `is` and not
/// `should`. Bytes that are wrong in another way look like that once in 2^56 / `bytes` times.
pub fn flip(is: u64, should: u64, bytes: u64) -> Option<Flip> {
    // The sum is linear: the two differ by the sum of the mask and the zeros after it. So the zeros
    // are taken back one by one until what is left is a byte.
    let mut sum = is ^ should;
    (0..bytes).find_map(|after| {
        for _ in 0..8 {
            let high = sum >> 63;
            sum = (sum ^ (high * POLYNOMIAL)) << 1 | high;
        }
        let mask = u8::try_from(sum).ok().filter(|mask| *mask != 0)?;
        Some(Flip { after, mask })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_summed_up_without_them() {
        for (bytes, zeros) in [(&b"a"[..], 0), (b"a", 1), (b"some bytes", 255), (b"x", 70_001)] {
            let mut all = bytes.to_vec();
            all.resize(bytes.len() + zeros, 0);
            assert_eq!(with_zeros(of(bytes), zeros as u64), of(&all), "{zeros}");
        }
        let (far, near) = (with_zeros(3, u64::MAX - 1), with_zeros(with_zeros(3, 1 << 40), 77));
        assert_eq!(with_zeros(near, u64::MAX - (1 << 40) - 78), far);
    }
    use engine::Rng;

    /// The definition, a bit at a time.
    fn slow(bytes: &[u8]) -> u64 {
        let mut sum = 0_u64;
        for byte in bytes {
            sum ^= u64::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 };
            }
        }
        sum
    }

    #[test]
    fn the_check_value_is_that_of_redis() {
        assert_eq!(of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn any_bytes_in_any_pieces_sum_up_to_the_definition() {
        let mut rng = Rng::new(3);
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..rng.below(700)).map(|_| rng.next_u64() as u8).collect();
            let (head, tail) = bytes.split_at(rng.below(bytes.len() as u64 + 1) as usize);
            let mut sum = Checksum::default();
            sum.add(head);
            sum.add(tail);
            assert_eq!(sum.value(), slow(&bytes));
        }
    }

    #[test]
    fn one_changed_byte_is_found_and_two_are_not() {
        let mut rng = Rng::new(4);
        for _ in 0..300 {
            let mut bytes: Vec<u8> =
                (0..1 + rng.below(700)).map(|_| rng.next_u64() as u8).collect();
            let (whole, length) = (of(&bytes), bytes.len() as u64);
            let (at, mask) = (rng.below(length), 1 + rng.below(255) as u8);
            bytes[at as usize] ^= mask;
            let found = flip(of(&bytes), whole, length);
            assert_eq!(found, Some(Flip { after: length - 1 - at, mask }));
            assert_eq!(flip(of(&bytes), whole, length - 1 - at), None, "it's before those");
            bytes[((at + 1) % length) as usize] ^= 0x11;
            assert_eq!(flip(of(&bytes), whole, length).filter(|_| length > 1), None);
        }
        assert_eq!(flip(7, 7, 100), None);
    }
}
