//! The longest common subsequence of two strings.
//!
//! ```text
//!          b ->            one bit a cell: whether the way back from there goes up, that is,
//!   a   . . . . .          whether the longest so far is longer without a's byte than without b's
//!   |   . \ < < .          (where the bytes are equal, it goes up and left)
//!   v   . ^ \ < .
//! ```
//!
//! What always holds: two rows of lengths and one bit a cell are all that is kept, and there are at
//! most [`LCS_CELLS_MAX`] cells.
//! Not for: requests and replies.

use crate::limits::LCS_CELLS_MAX;

/// A run of bytes that both strings have in the subsequence; positions in `a` and in `b`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where it begins in the first string.
    pub a: usize,
    /// Where it begins in the second.
    pub b: usize,
    /// How many bytes it has.
    pub len: usize,
}

/// The table of two strings.
#[derive(Debug)]
pub struct Lcs<'s> {
    a: &'s [u8],
    b: &'s [u8],
    len: usize,
    up: Vec<u64>,
}

impl<'s> Lcs<'s> {
    /// Compares two strings; none if the table would be too large. `way` says whether more than the
    /// length will be asked for.
    pub fn new(a: &'s [u8], b: &'s [u8], way: bool) -> Option<Self> {
        let cells = (a.len() as u64 + 1) * (b.len() as u64 + 1);
        if cells >= LCS_CELLS_MAX {
            return None;
        }
        let bits = if way { a.len() * b.len() } else { 0 };
        let mut lcs = Self { a, b, len: 0, up: vec![0; bits.div_ceil(64)] };
        lcs.fill(way);
        Some(lcs)
    }

    /// The length of the longest common subsequence.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none but the empty one.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The runs of the subsequence, the last one first.
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a.get(i - 1) == self.b.get(j - 1) {
                (i, j) = (i - 1, j - 1);
                match runs.last_mut() {
                    Some(run) if run.a == i + 1 && run.b == j + 1 => {
                        *run = Run { a: i, b: j, len: run.len + 1 };
                    }
                    _ => runs.push(Run { a: i, b: j, len: 1 }),
                }
            } else if self.goes_up(i, j) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        runs
    }

    fn fill(&mut self, way: bool) {
        let mut above = vec![0u32; self.b.len()];
        for (i, byte) in self.a.iter().enumerate() {
            let (mut left, mut corner) = (0, 0);
            for (j, (cell, other)) in above.iter_mut().zip(self.b).enumerate() {
                let up = *cell;
                let best = if byte == other { corner + 1 } else { up.max(left) };
                if way && up > left {
                    let bit = i * self.b.len() + j;
                    if let Some(word) = self.up.get_mut(bit / 64) {
                        *word |= 1 << (bit % 64);
                    }
                }
                (corner, left, *cell) = (up, best, best);
            }
        }
        self.len = above.last().map_or(0, |len| *len as usize);
    }

    fn goes_up(&self, i: usize, j: usize) -> bool {
        let bit = (i - 1) * self.b.len() + j - 1;
        self.up.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Rng;

    /// The textbook's recursion.
    fn naive(a: &[u8], b: &[u8]) -> usize {
        match (a, b) {
            ([], _) | (_, []) => 0,
            ([x, a @ ..], [y, b @ ..]) if x == y => 1 + naive(a, b),
            ([_, rest @ ..], [_, tail @ ..]) => naive(rest, b).max(naive(a, tail)),
        }
    }

    #[test]
    fn the_runs_are_a_common_subsequence_of_the_right_length() {
        let seed = std::process::id().into();
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        for _ in 0..300 {
            let [a, b] = [(); 2].map(|()| {
                let len = rng.below(9);
                (0..len).map(|_| b'a' + rng.below(3) as u8).collect::<Vec<u8>>()
            });
            let lcs = Lcs::new(&a, &b, true).unwrap();
            assert_eq!(lcs.len(), naive(&a, &b), "{a:?} {b:?}");
            assert_eq!(Lcs::new(&a, &b, false).unwrap().len(), lcs.len());
            let runs = lcs.runs();
            assert_eq!(runs.iter().map(|run| run.len).sum::<usize>(), lcs.len());
            let (mut end_a, mut end_b) = (a.len(), b.len());
            for run in runs {
                assert!(run.a + run.len <= end_a && run.b + run.len <= end_b);
                assert_eq!(a[run.a..run.a + run.len], b[run.b..run.b + run.len]);
                (end_a, end_b) = (run.a, run.b);
            }
        }
    }
}
