//! What fuzzing found worth keeping, checked again by every test run, and random bytes of the
//! protocols' own alphabets beside it.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test, and properties that are tests"
)]

extern crate sessile_protocol as protocol;

#[path = "../../../fuzz/properties/cuts.rs"]
mod cuts;
#[path = "../../../fuzz/properties/inline.rs"]
mod inline;
#[path = "../../../fuzz/properties/memcached.rs"]
mod memcached;
#[path = "../../../fuzz/properties/memcached_meta.rs"]
mod memcached_meta;
#[path = "../../../fuzz/properties/memcached_text.rs"]
mod memcached_text;
#[path = "../../../fuzz/properties/resp.rs"]
mod resp;

use proptest::prelude::{Strategy, any, prop};
use proptest::{prop_oneof, proptest};
use std::path::Path;

/// Checks every file of a corpus; there must be some.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&std::fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files > 0, "no corpus in {}", folder.display());
}

#[test]
fn corpus_of_resp() {
    replay("resp", resp::check);
}

#[test]
fn corpus_of_inline() {
    replay("inline", inline::check);
}

#[test]
fn corpus_of_memcached_text() {
    replay("memcached_text", memcached_text::check);
}

#[test]
fn corpus_of_memcached_meta() {
    replay("memcached_meta", memcached_meta::check);
}

/// Pieces of requests and a few bytes of anything.
fn pieces(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

const MEMCACHED: &[&str] = &[
    "get ",
    "gets ",
    "gat ",
    "set ",
    "add ",
    "cas ",
    "delete ",
    "incr ",
    "touch ",
    "flush_all ",
    "mg ",
    "ms ",
    "md ",
    "ma ",
    "me ",
    "mn",
    "key",
    "YWJj",
    " b",
    " q",
    " v",
    " T",
    " O1",
    " M",
    "0 ",
    "1 ",
    "5",
    "64",
    "65",
    "-1",
    "noreply",
    " ",
    "\r\n",
    "\r\n",
    "\n",
    "hello\r\n",
    "stats",
];
const RESP: &[&str] = &[
    "*1\r\n",
    "*2\r\n",
    "*3",
    "*-1\r\n",
    "$1\r\n",
    "$3\r\n",
    "$0\r\n",
    "$-1\r\n",
    "GET",
    "a",
    "\r\n",
    "\r\n",
    "\n",
    "PING\r\n",
    "'",
    "\"",
    "\\x41",
    " ",
    "*0\r\n",
    "$",
    "99999999999",
];

proptest! {
    #[test]
    fn any_memcached_text(data in pieces(MEMCACHED)) {
        memcached_text::check(&data);
    }

    #[test]
    fn any_memcached_meta(data in pieces(MEMCACHED)) {
        memcached_meta::check(&data);
    }

    #[test]
    fn any_resp(data in pieces(RESP)) {
        resp::check(&data);
        inline::check(&data);
    }
}
