//! Any bytes are a log that is surveyed and salvaged to its end, the same however they arrive, by a
//! store that goes on without what can't be applied, and up to there by one that doesn't; what is
//! whole is salvaged as it is read.

use super::store::{SECRET, small};
use persist::aof::salvage::{Survey, replay, survey};
use persist::aof::{Framer, Reader, Replay};
use std::io::{self, Read};

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// Salvages `data` as a file, as what follows the opening line, and as bytes that a log of some
/// chunks was damaged with.
pub(crate) fn check(data: &[u8]) {
    check_file(data);
    let mut file = Vec::new();
    let mut framer = Framer::open(SEED, &mut file);
    check_file(&[&file, data].concat());
    let mut ends = Vec::new();
    for records in
        [&b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"[..], data, b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"]
    {
        framer.frame(records, 0, &mut file);
        ends.push(file.len());
    }
    check_file(&file);
    // In the place of what was written, between right chunks, and over them.
    let at = ends[0];
    let over = data.len().min(file.len() - at);
    check_file(&[&file[..at], data, &file[at..]].concat());
    check_file(&[&file[..at], &data[..over], &file[at + over..]].concat());
}

fn check_file(file: &[u8]) {
    let whole = |at: u64| Ok(file.get(at as usize..).unwrap_or_default());
    let slowly = |at: u64| whole(at).map(Slow);
    let found = survey(whole, 0);
    let slow = survey(slowly, 0);
    assert_eq!(format!("{found:?}"), format!("{slow:?}"));
    let Ok(found) = found else { return };
    for damage in &found.damages {
        assert!(damage.offset <= file.len() as u64);
        assert!(damage.until.is_none_or(|until| until >= damage.offset));
    }
    let [strict, lenient] = [false, true].map(|lenient| {
        let had = salvaged(whole, &found, lenient);
        assert_eq!(had, salvaged(slowly, &found, lenient));
        had
    });
    assert!(strict == lenient || strict.0.starts_with("Err"), "{strict:?}, {lenient:?}");
    if found.patches.is_empty() && found.damages.is_empty() {
        let mut reader = Reader::new(file, 0);
        while reader.next().expect("a whole log is read").is_some() {}
    }
}

/// What is had from a file: how many records, or why none; the store is as it has to be.
fn salvaged<R: Read>(
    open: impl FnMut(u64) -> io::Result<R>,
    found: &Survey,
    lenient: bool,
) -> (String, u64) {
    let mut store = small(lenient);
    let done = replay(open, found, &mut Replay::new(SECRET, 2), &mut store);
    assert_eq!(store.0.check(), Ok(()));
    (format!("{done:?}"), store.0.len(0))
}

/// Bytes that arrive a few at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(7);
        self.0.read(&mut out[..most])
    }
}
