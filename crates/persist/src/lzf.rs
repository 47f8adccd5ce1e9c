//! LZF, the compression of strings in RDB files (the format of LibLZF 3).
//!
//! ```text
//! 000LLLLL <L+1 bytes>                 a literal run of 1 to 32 bytes
//! LLLooooo oooooooo                    a copy of L+2 (3 to 8) bytes from o+1 bytes back
//! 111ooooo LLLLLLLL oooooooo           a copy of L+9 (9 to 264) bytes from o+1 bytes back
//! ```
//!
//! What always holds: what is compressed decompresses to the same bytes, here and in Redis; bytes
//! that are no such stream are refused.

/// The longest literal run.
const LITERAL_MAX: usize = 32;
/// The longest copy, and the furthest one.
const COPY_MAX: usize = 264;
const DISTANCE_MAX: usize = 1 << 13;
const TABLE_BITS: u32 = 14;

/// Compresses; keeps its table from one string to the next.
#[derive(Clone, Debug)]
pub struct Compressor {
    /// For each hash of three bytes where they were seen last, counted from the first string on.
    seen: Box<[u32]>,
    /// Where the current string begins in that count.
    base: u32,
    /// Where the next one will.
    next: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { seen: vec![0; 1 << TABLE_BITS].into(), base: 1, next: 1 }
    }
}

impl Compressor {
    /// Appends `input` compressed to `out`, if that makes it shorter by 4 bytes at least; else
    /// answers `false` and leaves `out` as it was.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let done = input.len() > 4 && self.shorten(input, out, start + input.len() - 4).is_some();
        if !done {
            out.truncate(start);
        }
        done
    }

    fn shorten(&mut self, input: &[u8], out: &mut Vec<u8>, most: usize) -> Option<()> {
        self.begin(input.len())?;
        let (mut at, mut literal) = (0, 0);
        while at < input.len() {
            if let Some((distance, length)) = self.find(input, at) {
                write_literals(input.get(literal..at)?, out);
                write_copy(distance, length, out);
                // What is passed over can be copied from as well; all of a short copy, and the
                // end of a long one, are enough.
                let end = (at + length).min(input.len().saturating_sub(2));
                for passed in (at + 1).max(end.saturating_sub(8))..end {
                    self.note(input, passed);
                }
                at += length;
                literal = at;
            } else {
                at += 1;
            }
            if out.len() + (at - literal) / LITERAL_MAX > most {
                return None;
            }
        }
        write_literals(input.get(literal..)?, out);
        (out.len() <= most).then_some(())
    }

    /// Makes all that was seen before older than the new string.
    fn begin(&mut self, length: usize) -> Option<()> {
        let length = u32::try_from(length).ok()?;
        if self.next.checked_add(length).is_none() {
            self.seen.fill(0);
            self.next = 1;
        }
        self.base = self.next;
        self.next = self.base.checked_add(length)?;
        Some(())
    }

    /// A copy for what stands at `at`: how far back, and how long.
    fn find(&mut self, input: &[u8], at: usize) -> Option<(usize, usize)> {
        let before = self.note(input, at)?;
        let distance = at - before;
        if distance > DISTANCE_MAX {
            return None;
        }
        let (old, new) = (input.get(before..)?, input.get(at..)?);
        let same = old.iter().zip(new).take(COPY_MAX).take_while(|(a, b)| a == b).count();
        (same >= 3).then_some((distance, same))
    }

    /// Notes where three bytes stand; where they, or others of the same hash, stood before.
    fn note(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let [a, b, c] = *input.get(at..)?.first_chunk::<3>()?;
        let three = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
        let hash = three.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS);
        let place = self.seen.get_mut(hash as usize)?;
        let before = std::mem::replace(place, self.base + at as u32);
        before.checked_sub(self.base).map(|before| before as usize)
    }
}

/// Decompresses `input` to exactly `length` bytes; `None` if it isn't a stream of that length.
pub fn decompress(input: &[u8], length: usize) -> Option<Vec<u8>> {
    // A stream grows 88 times at most (3 bytes to 264), so the length can't make us take more.
    if length > input.len().saturating_mul(COPY_MAX) {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = input;
    while let Some((&head, after)) = rest.split_first() {
        let head = usize::from(head);
        if head < LITERAL_MAX {
            let (run, after) = after.split_at_checked(head + 1)?;
            out.extend_from_slice(run);
            rest = after;
        } else {
            let (mut count, mut after) = (head >> 5, after);
            if count == 7 {
                let (&more, left) = after.split_first()?;
                (count, after) = (count + usize::from(more), left);
            }
            let (&low, left) = after.split_first()?;
            rest = left;
            copy_back(&mut out, ((head & 0x1f) << 8 | usize::from(low)) + 1, count + 2)?;
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

/// Appends `count` bytes of what stands `distance` from the end; the two may overlap.
fn copy_back(out: &mut Vec<u8>, distance: usize, count: usize) -> Option<()> {
    let start = out.len().checked_sub(distance)?;
    if distance >= count {
        out.extend_from_within(start..start + count);
    } else {
        for from in start..start + count {
            out.push(*out.get(from)?);
        }
    }
    Some(())
}

fn write_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(LITERAL_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn write_copy(distance: usize, length: usize, out: &mut Vec<u8>) {
    let (offset, count) = (distance - 1, length - 2);
    if count < 7 {
        out.push((count << 5 | offset >> 8) as u8);
    } else {
        out.push((7 << 5 | offset >> 8) as u8);
        out.push((count - 7) as u8);
    }
    out.push(offset as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Rng;

    #[test]
    fn what_is_compressed_decompresses_to_the_same() {
        let mut rng = Rng::new(7);
        let mut compressor = Compressor::default();
        for round in 0..3_000_u64 {
            let letters = 1 + rng.below(1 + round % 40);
            let length = rng.below(1 + round % 900 * 20) as usize;
            let input: Vec<u8> = (0..length).map(|_| rng.below(letters) as u8).collect();
            let mut packed = Vec::new();
            if compressor.compress(&input, &mut packed) {
                assert!(packed.len() + 4 <= input.len(), "round {round}");
                assert_eq!(decompress(&packed, input.len()).as_ref(), Some(&input));
                assert_eq!(decompress(&packed, input.len() + 1), None);
            }
        }
        let mut packed = b"before".to_vec();
        assert!(compressor.compress(&[7; 100_000], &mut packed));
        assert!(packed.len() < 1_300 && packed.starts_with(b"before"));
        for short in [&b""[..], b"abc", b"abcdefghijklmnopqrstuvwxyz"] {
            assert!(!compressor.compress(short, &mut packed));
        }
        assert_eq!(decompress(b"", 0), Some(vec![]));
    }

    #[test]
    fn the_count_of_bytes_may_run_over() {
        let mut compressor = Compressor { next: u32::MAX - 700, ..Compressor::default() };
        let input: Vec<u8> = b"again ".repeat(50);
        for _ in 0..4 {
            let mut packed = Vec::new();
            assert!(compressor.compress(&input, &mut packed));
            assert_eq!(decompress(&packed, input.len()).as_ref(), Some(&input));
        }
    }

    #[test]
    fn bytes_that_are_no_stream_are_refused() {
        let mut rng = Rng::new(11);
        for _ in 0..20_000 {
            let input: Vec<u8> = (0..rng.below(40)).map(|_| rng.below(256) as u8).collect();
            if let Some(out) = decompress(&input, rng.below(300) as usize) {
                assert!(out.len() <= 300);
            }
        }
        assert_eq!(decompress(&[0, b'a', 0x20, 5], 4), None, "from before the start");
        assert_eq!(decompress(&[0xff], 4), None);
        assert_eq!(decompress(&[], usize::MAX), None);
    }
}
