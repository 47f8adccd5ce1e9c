//! CRC-64 as Redis counts it (Jones' polynomial, reflected, start 0): of files, payloads, chunks.
//!
//! Not for: secrets. Whoever can write a file can also write its checksum.

use crc_fast::{CrcAlgorithm, Digest};

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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Rng;

    /// The definition, a bit at a time.
    fn slow(bytes: &[u8]) -> u64 {
        let mut sum = 0_u64;
        for byte in bytes {
            sum ^= u64::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ if sum & 1 == 1 { 0x95ac_9329_ac4b_c9b5 } else { 0 };
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
}
