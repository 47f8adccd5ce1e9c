//! The key hash and what each of its bits is for.
//!
//! ```text
//! 63                    34 33  32 31          11 10       6 5       0
//! | position in the directory (32) |             | bucket (5) | shard (6) |
//!                         | tag (23)           |
//! ```
//!
//! SipHash-1-3 under a random 128-bit key: session ids are text that strangers choose, and with
//! buckets of fixed size a flood of colliding keys would push out other users' sessions.
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with 1 and 3 rounds.
//! What always holds: tag and bucket don't depend on how deep the directory is.

use siphasher::sip::SipHasher13;

/// The secret of one arena, from which all key hashes come.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub [u64; 2]);

impl HashKey {
    /// Hashes the bytes of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let [a, b] = self.0;
        KeyHash(SipHasher13::new_with_keys(a, b).hash(key))
    }
}

/// The hash of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// Which of `shards` (a power of two, at most 64) holds the key.
    #[inline]
    pub const fn shard(self, shards: usize) -> usize {
        (self.0 as usize) & (shards - 1)
    }

    /// The key's home bucket within its leaf.
    #[inline]
    pub const fn bucket(self) -> usize {
        (self.0 >> 6) as usize & 31
    }

    /// What a slot keeps of the hash.
    #[inline]
    pub const fn tag(self) -> u32 {
        (self.0 >> 11) as u32 & 0x7f_ffff
    }

    /// The key's position in the order that the directory and SCAN follow.
    #[inline]
    pub const fn position(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_matters_and_the_parts_do_not_overlap_by_accident() {
        let key = HashKey([1, 2]);
        assert_eq!(key.hash(b"a"), key.hash(b"a"));
        assert_ne!(key.hash(b"a"), HashKey([1, 3]).hash(b"a"));
        let hash = KeyHash(0xffff_fffc_0000_0000 | 0b10_0000 << 6 | 5);
        assert_eq!((hash.shard(64), hash.bucket(), hash.tag()), (5, 0, 1));
        assert_eq!(hash.position(), u32::MAX - 3);
    }
}
