//! Lines that say they begin a chunk, in a stretch that isn't right: which of them tell the truth.
//!
//! Any value may hold such lines, each with gigabytes announced. So nobody sums up what one
//! announces: all bytes are summed up once, and a line is right if the sum, when its chunk's end comes,
//! is what follows from the line and the sum before.
//! What always holds: the work is as large as the stretch; memory is taken for [`CLAIMS_MAX`] lines.

use crate::aof::chunk::ChunkLine;
use crate::checksum::{Checksum, with_zeros};
use crate::limits::CLAIMS_MAX;
use std::collections::BTreeSet;

/// A line whose chunk hasn't ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Claim {
    end: u64,
    /// Where the line begins.
    pub(super) start: u64,
    /// The sum of all bytes up to the end, if the line is right.
    sum: u64,
    /// Bytes that were on the disk when it was written, as it says.
    pub(super) synced: u64,
}

/// The lines so far.
#[derive(Debug)]
pub(super) struct Claims {
    sum: Checksum,
    at: u64,
    waiting: BTreeSet<Claim>,
}

impl Claims {
    /// Begins at a byte of a file.
    pub(super) fn begin(at: u64) -> Self {
        Self { sum: Checksum::default(), at, waiting: BTreeSet::new() }
    }

    /// Takes the next bytes in, and shows the lines that turn out to be right.
    pub(super) fn pass(&mut self, bytes: &[u8], mut right: impl FnMut(Claim)) {
        let mut rest = bytes;
        while let Some(first) = self.waiting.first().copied() {
            let to_end = first.end.saturating_sub(self.at);
            let split = usize::try_from(to_end).ok().and_then(|count| rest.split_at_checked(count));
            let Some((before, after)) = split else { break };
            self.add(before);
            rest = after;
            self.waiting.pop_first();
            if self.sum.value() == first.sum {
                right(first);
            }
        }
        self.add(rest);
    }

    /// Takes in that a line began at `start` and has just ended. If there are too many, the one
    /// whose end is farthest is given up, and returned.
    pub(super) fn expect(&mut self, start: u64, line: &ChunkLine, seed: u64) -> Option<Claim> {
        let before = line.sum_of(seed, &[]) ^ self.sum.value();
        self.waiting.insert(Claim {
            end: self.at.saturating_add(line.bytes),
            start,
            sum: line.sum ^ with_zeros(before, line.bytes),
            synced: line.synced,
        });
        if self.waiting.len() > CLAIMS_MAX { self.waiting.pop_last() } else { None }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.sum.add(bytes);
        self.at += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aof::chunk::Framer;
    use engine::Rng;

    const SEED: u64 = 77;

    /// Bytes full of lines, some of them right, and where those begin.
    fn sample(rng: &mut Rng) -> (Vec<u8>, BTreeSet<u64>) {
        let (mut file, mut right) = (Vec::new(), BTreeSet::new());
        let mut head = Vec::new();
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..rng.below(300)).map(|_| rng.next_u64() as u8 | 0x80).collect();
            let start = file.len();
            match rng.below(3) {
                0 => file.extend_from_slice(&bytes),
                1 => {
                    let mut framer = Framer::open(SEED, &mut head);
                    framer.frame(&[&b"*"[..], &bytes].concat(), 0, &mut file);
                    right.insert(start as u64);
                    if rng.below(3) == 0 {
                        let at = start + rng.below((file.len() - start) as u64) as usize;
                        file[at] ^= 1 << rng.below(7);
                        right.remove(&(start as u64));
                    }
                }
                _ => {
                    let (sum, length) = (rng.next_u64(), rng.below(30_000));
                    let line = format!("#sc 1 {length} {:016x} {sum:016x} 0\r\n", 0);
                    file.extend_from_slice(line.as_bytes());
                }
            }
        }
        (file, right)
    }

    #[test]
    fn right_lines_are_known_among_others_however_the_bytes_come() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (file, wanted) = sample(&mut rng);
            let (mut claims, mut at, mut found) = (Claims::begin(0), 0, BTreeSet::new());
            while at < file.len() {
                let end = file[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end + 1);
                let line = end.and_then(|end| ChunkLine::parse(&file[at..end]));
                let next = match (line, end) {
                    (Some(_), Some(end)) => end,
                    // Up to where the next line may begin, and no farther.
                    _ => {
                        let line = file[at + 1..].iter().position(|byte| *byte == b'#');
                        let most = line.unwrap_or(file.len() - at - 1) as u64;
                        at + 1 + rng.below(most + 1) as usize
                    }
                };
                claims.pass(&file[at..next], |claim| _ = found.insert(claim.start));
                if let Some(line) = line {
                    assert_eq!(claims.expect(at as u64, &line, SEED), None);
                }
                at = next;
            }
            claims.pass(&[], |claim| _ = found.insert(claim.start));
            assert_eq!(found, wanted, "seed {seed}");
        }
    }

    #[test]
    fn of_too_many_lines_the_one_that_ends_last_is_given_up() {
        let mut claims = Claims::begin(0);
        let line = |bytes| ChunkLine { sequence: 1, bytes, chain: 0, sum: 0, synced: bytes };
        for number in 0..CLAIMS_MAX as u64 {
            assert_eq!(claims.expect(number, &line(1_000_000 + number), SEED), None);
        }
        let given_up = |claim: Option<Claim>| claim.map(|claim| claim.synced);
        assert_eq!(given_up(claims.expect(0, &line(9_000_000), SEED)), Some(9_000_000));
        let last = 1_000_000 + CLAIMS_MAX as u64 - 1;
        assert_eq!(given_up(claims.expect(0, &line(5), SEED)), Some(last));
    }
}
