//! Room in an increment: lines that stand where later chunks will, so that a sync needn't write
//! down where the file ends.
//!
//! ```text
//! ###############...###\n   64 bytes, one after the other; a chunk may end anywhere in one
//! ###############...##.\n   the last line of the room: behind it may be what Redis appended
//! ```
//!
//! Lines stand at multiples of 64 bytes. What always holds: what is left of them behind a chunk
//! begins with `#`, so that Redis passes over it ([`before`]); there is no last line in front of a
//! chunk. So a line of room with something else behind it is what is left where a chunk got lost.
//! Not for: when room is made, and how much.

use crate::limits::ROOM_LINE;

/// A line that isn't the last.
const LINE: &[u8; ROOM_LINE as usize] =
    b"###############################################################\n";

/// What goes behind the last chunk of a file that has `size` bytes then: without it what is left
/// of a line would not begin with `#`.
pub const fn before(size: u64) -> &'static [u8] {
    // ".\n" or "\n" would be left.
    if size % ROOM_LINE >= ROOM_LINE - 2 { b"# \n" } else { b"" }
}

/// Appends to `out` the room of a file from byte `from` on; it ends with the line that `to` is in.
/// Where it ends.
pub fn room(from: u64, to: u64, out: &mut Vec<u8>) -> u64 {
    let end = to.next_multiple_of(ROOM_LINE);
    let before = out.len();
    let begun = from % ROOM_LINE;
    let lines = end.saturating_sub(from - begun) / ROOM_LINE;
    for _ in 0..lines {
        out.extend_from_slice(LINE);
    }
    if let [.., last, _] = out.as_mut_slice()
        && lines > 0
    {
        *last = b'.';
    }
    // Less than the first line.
    out.drain(before..(before + begun as usize).min(out.len()));
    end
}

/// What a line is to room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// Part of it.
    Room,
    /// Its last line.
    Last,
    /// None of it.
    Other,
}

/// Looks at a line, its end included.
pub(super) fn look(line: &[u8]) -> Line {
    let (text, found) = match line {
        [text @ .., b'.', b'\n'] => (text, Line::Last),
        [text @ .., b'\n'] => (text, Line::Room),
        _ => return Line::Other,
    };
    let all = !text.is_empty() && text.iter().all(|byte| *byte == b'#');
    if all { found } else { Line::Other }
}

#[cfg(test)]
mod tests {
    use super::{Line, before, look, room};
    use crate::aof::tests::{replay, small};
    use crate::aof::{Fault, Problem, Verdict};
    use engine::Rng;

    #[test]
    fn what_is_left_behind_a_chunk_is_lines_of_room_and_the_last() {
        for size in 0..300_u64 {
            let behind = size + before(size).len() as u64;
            let mut file = Vec::new();
            let end = room(0, 640, &mut file);
            assert_eq!((end, file.len()), (640, 640));
            let left: Vec<_> = file[behind as usize..].split_inclusive(|b| *b == b'\n').collect();
            let (last, rest) = left.split_last().unwrap();
            assert!(rest.iter().all(|line| look(line) == Line::Room), "{size}");
            assert_eq!(look(last), Line::Last, "{size}");
        }
    }

    #[test]
    fn room_goes_on_where_it_ended() {
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        room(10, 1000, &mut once);
        let end = room(10, 200, &mut twice);
        twice.truncate(twice.len() - 64);
        room(end - 64, 1000, &mut twice);
        assert!(once == twice);
    }

    #[test]
    fn other_lines_are_no_room() {
        for line in [&b"# \n"[..], b"\n", b".\n", b"#sc 1\n", b"##", b"*1\r\n", b"##.", b"##..\n"] {
            assert_eq!(look(line), Line::Other, "{line:?}");
        }
        assert_eq!((look(b"#\n"), look(b"#.\n")), (Line::Room, Line::Last));
    }

    /// A file with room behind its chunks, up to a size.
    fn with_room(chunks: &[u8], to: u64) -> Vec<u8> {
        let mut file = chunks.to_vec();
        file.extend_from_slice(before(file.len() as u64));
        room(file.len() as u64, to, &mut file);
        file
    }

    #[test]
    fn room_is_passed_over_and_redis_may_go_on_behind_it() {
        let sample = small(|_| 0);
        let mut file = with_room(&sample.file, 4_000);
        let (state, error, _) = replay(&file, u64::MAX);
        assert!(error.is_none() && state == sample.states[7], "{error:?}");
        file.extend_from_slice(b"*1\r\n$8\r\nFLUSHALL\r\n");
        let (state, error, _) = replay(&file, u64::MAX);
        assert!(error.is_none() && state == sample.states[0], "{error:?}");
    }

    #[test]
    fn chunks_of_which_sectors_are_missing_are_torn() {
        const SECTOR: usize = 128;
        let (sample, mut rng) = (small(|_| 0), Rng::new(3));
        let (mut whole, mut lost) = (0, 0);
        for _ in 0..3_000 {
            // What the disk had: so many chunks, and room. Of what was written then, some came.
            let had = rng.below(7) as usize;
            let mut file = with_room(&sample.file[..sample.ends[had]], 4_000);
            let now = with_room(&sample.file, 4_000);
            for at in (0..file.len()).step_by(SECTOR) {
                let to = file.len().min(at + SECTOR);
                if rng.below(2) == 0 {
                    file[at..to].copy_from_slice(&now[at..to]);
                }
            }
            let (state, error, _) = replay(&file, 0);
            assert!(sample.states[had..].contains(&state), "{had} chunks: {error:?}");
            let Some(error) = error else {
                whole += 1;
                continue;
            };
            let Problem::Bad { fault, verdict: Verdict::Torn } = error.problem else {
                panic!("{had} chunks: {error}")
            };
            lost += usize::from(fault == Fault::Room);
            assert!(replay(&file[..error.offset as usize], 0).1.is_none(), "{error}");
        }
        assert!(lost > 100 && whole > 100, "{lost} and {whole}");
    }
}
