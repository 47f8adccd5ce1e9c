//! Marks in a file: by which of its stretches is known to be right if the whole isn't.
//!
//! ```text
//! header | FA "sessile-seed" seed | stretch | FA "sessile-mark" from to sum | stretch | mark ... |
//!        | FA "sessile-seed" seed | FF | checksum
//! ```
//!
//! Each about a megabyte of items, beginning with the choice of their database. The sum is of the
//! seed, where the stretch begins, and its bytes; the seed is random, so that a value can't pass for
//! a mark. Redis tools skip both aux fields; what they write has none.
//! What always holds: what is called right is what was written there.

use super::{Input, VERSION, length, op};
use crate::checksum::Checksum;
use crate::limits::{AHEAD_MAX, MARK_EVERY, MARK_STRETCH_MAX};
use memchr::memmem;
use std::io::{self, Cursor, Read};
use std::ops::Range;

/// The name of the aux field of a mark: three numbers of 16 digits.
const MARK: &[u8] = b"sessile-mark";
/// The name of the aux field of the seed: 16 digits.
pub(super) const SEED: &[u8] = b"sessile-seed";
/// Bytes of the three numbers.
const NUMBERS: usize = 3 * 16 + 2;
/// Bytes at the beginning of a file among which its seed is.
const SEED_WITHIN: u64 = 4096;
/// Bytes after the last aux field: the end and the checksum.
const AFTER_SEED: u64 = 9;

/// Marks on their way into a file.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    seed: u64,
    from: u64,
    sum: Checksum,
}

impl Marks {
    /// A stretch begins at that byte.
    pub(super) fn begin(seed: u64, from: u64) -> Self {
        Self { seed, from, sum: begun(seed, from) }
    }

    /// Takes the next bytes in.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.sum.add(bytes);
    }

    /// Whether a mark is due at that byte; in the end whenever there is anything.
    pub(super) const fn is_due(&self, at: u64, ends: bool) -> bool {
        at - self.from >= if ends { 1 } else { MARK_EVERY }
    }

    /// The mark at that byte.
    pub(super) fn mark(&self, at: u64) -> Vec<u8> {
        let numbers = format!("{:016x} {at:016x} {:016x}", self.from, self.sum.value());
        aux(MARK, numbers.as_bytes())
    }

    /// The seed.
    pub(super) fn seed(&self) -> Vec<u8> {
        aux(SEED, format!("{:016x}", self.seed).as_bytes())
    }

    /// The next stretch, which begins at that byte.
    pub(super) fn next(&self, from: u64) -> Self {
        Self::begin(self.seed, from)
    }
}

fn begun(seed: u64, from: u64) -> Checksum {
    let mut sum = Checksum::default();
    [seed, from].iter().for_each(|number| sum.add(&number.to_le_bytes()));
    sum
}

/// An aux field as it stands in a file, never compressed.
fn aux(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![op::AUX];
    for bytes in [name, value] {
        length(bytes.len() as u64, &mut out);
        out.extend_from_slice(bytes);
    }
    out
}

/// The stretches of a file of `length` bytes that are right, in order; none in a file without
/// marks. `open` gives the file from a byte on.
///
/// # Errors
/// The file can't be read.
pub fn right_stretches<R: Read>(
    mut open: impl FnMut(u64) -> io::Result<R>,
    length: u64,
) -> io::Result<Vec<Range<u64>>> {
    let mut head = Vec::new();
    open(0)?.take(SEED_WITHIN).read_to_end(&mut head)?;
    let field = aux(SEED, &[b'0'; 16]);
    let mut last = Vec::new();
    let at = length.saturating_sub(field.len() as u64 + AFTER_SEED);
    open(at)?.take(field.len() as u64).read_to_end(&mut last)?;
    let last = last.strip_prefix(field.strip_suffix(&[b'0'; 16]).unwrap_or_default());
    let marks = marks_in(open(0)?)?;
    for seed in [seed_in_head(&head), last.and_then(hex)].into_iter().flatten() {
        let right = right_by(&mut open, &marks, seed)?;
        if !right.is_empty() {
            return Ok(right);
        }
    }
    Ok(Vec::new())
}

/// The stretches that are right by that seed.
fn right_by<R: Read>(
    mut open: impl FnMut(u64) -> io::Result<R>,
    marks: &[(Range<u64>, u64)],
    seed: u64,
) -> io::Result<Vec<Range<u64>>> {
    let mut right: Vec<Range<u64>> = Vec::new();
    for (stretch, sum) in marks {
        let after = right.last().is_none_or(|last| last.end < stretch.start);
        let short = stretch.start < stretch.end && stretch.end - stretch.start <= MARK_STRETCH_MAX;
        if after && short && is_right(open(stretch.start)?, stretch, *sum, seed)? {
            right.push(stretch.clone());
        }
    }
    Ok(right)
}

/// The seed among the first fields: anywhere else a value could pass for one.
fn seed_in_head(head: &[u8]) -> Option<u64> {
    let mut input = Input::new(head);
    input.pass(9).ok()?;
    while input.byte().ok()? == op::AUX {
        let (name, value) = (input.string().ok()?, input.string().ok()?);
        if name == SEED {
            return hex(&value);
        }
    }
    None
}

/// What looks like a mark and says where it stands: its stretch, and the sum.
fn marks_in(mut file: impl Read) -> io::Result<Vec<(Range<u64>, u64)>> {
    let mut start = aux(MARK, &[b'0'; NUMBERS]);
    start.truncate(start.len() - NUMBERS);
    let whole = start.len() + NUMBERS;
    let (mut found, mut window, mut before) = (Vec::new(), Vec::new(), 0_u64);
    loop {
        let read = (&mut file).take(AHEAD_MAX as u64).read_to_end(&mut window)?;
        for at in memmem::find_iter(&window, &start) {
            let numbers = window.get(at + start.len()..at + whole);
            if let Some((stretch, sum)) = numbers.and_then(parse)
                && stretch.end == before + at as u64
            {
                found.push((stretch, sum));
            }
        }
        if read == 0 {
            return Ok(found);
        }
        // The end may be the beginning of one; what is whole isn't met again.
        let done = (window.len() + 1).saturating_sub(whole);
        window.drain(..done);
        before += done as u64;
    }
}

fn parse(numbers: &[u8]) -> Option<(Range<u64>, u64)> {
    let mut numbers = numbers.split(|byte| *byte == b' ').map(hex);
    let (from, to, sum) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some((from..to, sum))
}

fn hex(digits: &[u8]) -> Option<u64> {
    let right = digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok().filter(|_| right)
}

fn is_right(file: impl Read, stretch: &Range<u64>, sum: u64, seed: u64) -> io::Result<bool> {
    let mut is = begun(seed, stretch.start);
    let mut left = file.take(stretch.end - stretch.start);
    let mut piece = Vec::new();
    while left.by_ref().take(AHEAD_MAX as u64).read_to_end(&mut piece)? > 0 {
        is.add(&piece);
        piece.clear();
    }
    Ok(left.limit() == 0 && is.value() == sum)
}

/// Some stretches of a file as a file of their own.
#[derive(Debug)]
pub struct Stretches<R, F> {
    open: F,
    left: std::vec::IntoIter<Range<u64>>,
    /// What stands before the first one, then the one that is read.
    head: Cursor<Vec<u8>>,
    here: Option<io::Take<R>>,
    end: Cursor<Vec<u8>>,
}

impl<R: Read, F: FnMut(u64) -> io::Result<R>> Stretches<R, F> {
    /// Those that [`right_stretches`] found.
    pub fn new(open: F, stretches: Vec<Range<u64>>) -> Self {
        // A checksum of zero is none: each stretch has its own.
        let end = [&[op::END][..], &[0; 8]].concat();
        Self {
            open,
            left: stretches.into_iter(),
            head: Cursor::new(format!("REDIS{VERSION:04}").into_bytes()),
            here: None,
            end: Cursor::new(end),
        }
    }
}

impl<R: Read, F: FnMut(u64) -> io::Result<R>> Read for Stretches<R, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.head.read(into)?;
        if count > 0 || into.is_empty() {
            return Ok(count);
        }
        loop {
            if let Some(here) = &mut self.here {
                let count = here.read(into)?;
                if count > 0 {
                    return Ok(count);
                }
            }
            match self.left.next() {
                None => return self.end.read(into),
                Some(next) => {
                    self.here = Some((self.open)(next.start)?.take(next.end - next.start));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extra::Extra;
    use crate::rdb::{Body, Encoder, Event, Facts, Others, Problem, Reader, Writer};
    use engine::{Meta, OwnedValue, Rng};
    use std::collections::BTreeMap;

    type Items = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

    /// A file of some megabytes with marks, and what it holds.
    fn sample(seed: u64) -> (Vec<u8>, Items) {
        let mut rng = Rng::new(seed);
        let facts =
            Facts { version: "7.0.15", ctime: 1, used_memory: 1 << 30, aof_base: true, more: &[] };
        let mut writer = Writer::new(Vec::new(), &facts, false).unwrap();
        writer.begin_marks(seed << 7).unwrap();
        let (mut items, mut db, mut encoder) = (Items::new(), None, Encoder::new(false));
        for number in 0..60 {
            let (to, mut piece) = (number % 3, Vec::new());
            if db.replace(to) != Some(to) {
                Encoder::select(to, &mut piece);
            }
            let mut value: Vec<u8> = (0..80_000).map(|_| rng.next_u64() as u8).collect();
            // A client that knows all but the seed and where its value will be.
            let forged = Marks::begin(1, 0);
            value.splice(100..100, [forged.seed(), forged.mark(5), forged.mark(3 << 20)].concat());
            let key = format!("key:{number}").into_bytes();
            let (body, extra) = (Body::String(&value), Extra::default());
            encoder.item(&key, body, &Meta::default(), &extra, &mut piece);
            writer.append(&piece).unwrap();
            items.insert((to, key), value);
            if writer.mark().unwrap() {
                db = None;
            }
        }
        (writer.finish().unwrap(), items)
    }

    fn items(file: impl Read) -> Items {
        let mut reader = Reader::new(file, Others::Refuse, [1, 2]).unwrap();
        let mut items = Items::new();
        while let Some(event) = reader.next().unwrap() {
            if let Event::Item(item) = event {
                let OwnedValue::String(value) = item.item.value else { panic!("no string") };
                assert!(items.insert((item.db, item.key), value).is_none());
            }
        }
        items
    }

    fn reading<'f>(file: &'f [u8]) -> impl FnMut(u64) -> io::Result<&'f [u8]> {
        move |at| Ok(file.get(at as usize..).unwrap_or_default())
    }

    fn stretches(file: &[u8]) -> Vec<Range<u64>> {
        right_stretches(reading(file), file.len() as u64).unwrap()
    }

    #[test]
    fn all_but_the_damaged_stretches_are_right() {
        let (file, all) = sample(3);
        assert_eq!(items(file.as_slice()), all);
        let whole = stretches(&file);
        assert!(whole.len() > 3 && whole.len() < 7, "{whole:?}");
        assert_eq!(items(Stretches::new(reading(&file), whole.clone())), all);
        let mut rng = Rng::new(9);
        for round in 0..40 {
            let mut damaged = file.clone();
            let from = rng.below(file.len() as u64);
            let to = (from + 1 + rng.below(5_000)).min(file.len() as u64);
            damaged[from as usize..to as usize].fill(round as u8);
            let right = stretches(&damaged);
            // A mark that is gone takes the stretch before it along; the one behind it is right.
            let kept = |one: &&Range<u64>| one.end + 70 < from || one.start > to;
            let sure: Vec<_> = whole.iter().filter(kept).collect();
            assert!(sure.iter().all(|one| right.contains(one)), "round {round}: {right:?}");
            assert!(right.iter().all(|one| whole.contains(one)), "round {round}");
            let found = items(Stretches::new(reading(&damaged), right.clone()));
            assert!(found.iter().all(|(key, value)| all.get(key) == Some(value)));
            assert!(right.len() + 2 >= whole.len() && found.len() >= 60 - 2 * 15);
        }
        let cut = stretches(&file[..file.len() / 2]);
        assert_eq!(cut, whole[..cut.len()]);
        assert!(!cut.is_empty() && cut.len() < whole.len());
    }

    #[test]
    fn a_checksum_of_zero_is_a_wrong_one() {
        let (mut file, all) = sample(5);
        let length = file.len();
        file[length - 8..].fill(0);
        let mut reader = Reader::new(file.as_slice(), Others::Refuse, [1, 2]).unwrap();
        let error = loop {
            match reader.next() {
                Ok(event) => assert!(event.is_some(), "read to its end"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error.problem, Problem::Checksum), "{error}");
        // What is left of it is a file without one: each stretch had its own.
        assert_eq!(items(Stretches::new(reading(&file), stretches(&file))), all);
    }

    #[test]
    fn the_seed_is_had_from_either_end_and_from_nowhere_else() {
        let (file, _) = sample(4);
        let whole = stretches(&file);
        let mut damaged = file.clone();
        damaged[9..100].fill(0);
        assert_eq!(stretches(&damaged), whole[..]);
        let length = file.len();
        damaged[length - 40..].fill(0);
        assert!(stretches(&damaged).is_empty());
        assert!(stretches(&[]).is_empty() && stretches(b"REDIS0010").is_empty());
    }
}
