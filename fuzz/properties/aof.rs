//! Any bytes read as a log the same however they arrive, and their records replay to an end or an
//! error; a torn log that is cut where the error says is whole. A store that goes on without what
//! can't be applied has the same of a log of which all can.

use super::store::{SECRET, small};
use persist::aof::{Error, Framer, Problem, Reader, Replay, ReplayError, Verdict, room};
use std::io::{self, Read};

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// Reads `data` as a file, as what follows the opening line, and as the records of a chunk.
pub(crate) fn check(data: &[u8]) {
    check_file(data);
    let mut file = Vec::new();
    let mut framer = Framer::open(SEED, &mut file);
    check_file(&[&file, data].concat());
    framer.frame(data, 0, &mut file);
    check_file(&file);
    // Room, and the bytes behind it and in it.
    file.extend_from_slice(room::before(file.len() as u64));
    let (start, middle) = (file.len() as u64, file.len() + data.len() % 200);
    room::room(start, start + 300, &mut file);
    check_file(&[&file, data].concat());
    check_file(&[&file[..middle], data].concat());
    replay(&file);
    replay(data);
}

fn check_file(file: &[u8]) {
    let (records, error) = read(file);
    let (slow, slow_error) = read(Slow(file));
    assert_eq!(records, slow);
    assert_eq!(format!("{error:?}"), format!("{slow_error:?}"));
    let Some(error) = error else { return };
    assert!(error.offset <= file.len() as u64, "{error}");
    if matches!(error.problem, Problem::Bad { verdict: Verdict::Torn, .. }) {
        let (cut, error) = read(&file[..error.offset as usize]);
        assert!(error.is_none(), "{error:?}");
        assert!(records.starts_with(&cut));
    }
}

/// Bytes that arrive a few at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(7);
        self.0.read(&mut out[..most])
    }
}

/// The records of a file, up to its end or an error.
fn read(file: impl Read) -> (Vec<String>, Option<Error>) {
    let mut reader = Reader::new(file, 0);
    let mut records = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(record)) => {
                let args: Vec<String> =
                    record.args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
                records.push(format!("{} {:?} {args:?}", record.offset, record.note));
            }
            Ok(None) => return (records, None),
            Err(error) => return (records, Some(error)),
        }
    }
}

fn replay(file: &[u8]) {
    let (keys, error) = replayed(file, false);
    let (more, unfit) = replayed(file, true);
    if error.is_none() {
        assert_eq!((keys, unfit), (more, None));
    }
}

/// Replays a file up to its first error, into a small store: how many keys it has, and the store's
/// error.
fn replayed(file: &[u8], lenient: bool) -> ([u64; 2], Option<String>) {
    let mut store = small(lenient);
    let (mut reader, mut replay) = (Reader::new(file, 0), Replay::new(SECRET, 2));
    let mut error = None;
    while let (None, Ok(Some(record))) = (&error, reader.next()) {
        error = replay.record(&record, &mut store).err();
    }
    assert_eq!(store.0.check(), Ok(()));
    if lenient {
        let of_the_store = error.as_ref().is_none_or(ReplayError::is_of_the_store);
        assert!(of_the_store, "{error:?}");
    }
    ([0, 1].map(|db| store.0.len(db)), error.map(|error| error.to_string()))
}
