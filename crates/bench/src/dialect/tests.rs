use super::*;
use crate::random::Random;

fn document() -> Document {
    let mut document = Document::default();
    document.fill(300, &mut Random::new(1));
    document
}

fn say(dialect: Dialect, step: Step, slide: bool) -> (String, u8) {
    let document = document();
    let said = Said { key: b"old", new_key: b"new", document: &document, idle: 60, slide };
    let mut out = Vec::new();
    let replies = dialect.say(step, &said, &mut out);
    (String::from_utf8(out).unwrap(), replies)
}

#[test]
fn loads_in_every_dialect() {
    let cases = [
        (Dialect::String, false, "*2\r\n$3\r\nGET\r\n$3\r\nold\r\n", 1),
        (Dialect::String, true, "*4\r\n$5\r\nGETEX\r\n$3\r\nold\r\n$2\r\nEX\r\n$2\r\n60\r\n", 1),
        (Dialect::Hash, false, "*2\r\n$7\r\nHGETALL\r\n$3\r\nold\r\n", 1),
        (
            Dialect::Hash,
            true,
            "*2\r\n$7\r\nHGETALL\r\n$3\r\nold\r\n*3\r\n$6\r\nEXPIRE\r\n$3\r\nold\r\n$2\r\n60\r\n",
            2,
        ),
        (Dialect::Session, true, "*2\r\n$12\r\nSESSION.LOAD\r\n$3\r\nold\r\n", 1),
        (Dialect::Text, false, "get old\r\n", 1),
        (Dialect::Text, true, "gat 60 old\r\n", 1),
        (Dialect::Meta, false, "mg old v\r\n", 1),
        (Dialect::Meta, true, "mg old v T60\r\n", 1),
    ];
    for (dialect, slide, bytes, replies) in cases {
        assert_eq!(say(dialect, Step::Load, slide), (bytes.to_owned(), replies), "{dialect}");
    }
}

/// Takes RESP requests apart again, independently of how they were built.
fn requests(bytes: &str) -> Vec<Vec<String>> {
    let mut rest = bytes;
    let mut all = Vec::new();
    let line = |mark: char, rest: &mut &str| -> usize {
        let (first, after) = rest.split_once("\r\n").unwrap();
        *rest = after;
        first.strip_prefix(mark).unwrap().parse().unwrap()
    };
    while !rest.is_empty() {
        let words = line('*', &mut rest);
        let mut request = Vec::new();
        for _ in 0..words {
            let bytes = line('$', &mut rest);
            request.push(rest[..bytes].to_owned());
            rest = rest[bytes..].strip_prefix("\r\n").unwrap();
        }
        all.push(request);
    }
    all
}

#[test]
fn every_step_over_resp_is_well_formed() {
    for dialect in [Dialect::String, Dialect::Hash, Dialect::Session] {
        for step in [Step::Load, Step::Change, Step::Rotate, Step::End, Step::Create] {
            for slide in [false, true] {
                let (bytes, replies) = say(dialect, step, slide);
                assert_eq!(requests(&bytes).len(), usize::from(replies), "{dialect} {step:?}");
            }
        }
    }
}

#[test]
fn a_rotation_writes_the_new_key_and_ends_the_old() {
    let string = requests(&say(Dialect::String, Step::Rotate, false).0);
    assert_eq!(string[0][..2], ["SET", "new"]);
    assert_eq!(string[1], ["DEL", "old"]);
    let session = requests(&say(Dialect::Session, Step::Rotate, false).0);
    assert_eq!(session[0][..4], ["SESSION.ROTATE", "old", "new", "USER"]);
    let (text, replies) = say(Dialect::Text, Step::Rotate, false);
    assert!(text.starts_with("set new 0 60 ") && text.ends_with("delete old\r\n"), "{text}");
    assert_eq!(replies, 2);
}

#[test]
fn memcached_takes_no_expiry_over_thirty_days() {
    let document = document();
    let said = Said { key: b"k", new_key: b"", document: &document, idle: u32::MAX, slide: true };
    let mut out = Vec::new();
    Dialect::Text.say(Step::Load, &said, &mut out);
    assert_eq!(out, b"gat 2592000 k\r\n");
}

#[test]
fn replies_end_where_they_end_whatever_the_cuts() {
    let resp: &[(&[u8], Reply)] = &[
        (b"+OK\r\n", Reply::Good),
        (b":17\r\n", Reply::Good),
        (b"-ERR no\r\n", Reply::Refused),
        (b"$-1\r\n", Reply::Missing),
        (b"_\r\n", Reply::Missing),
        (b"$5\r\na\r\nb\0\r\n", Reply::Good),
        (b"*-1\r\n", Reply::Missing),
        (b"*0\r\n", Reply::Missing),
        (b"%0\r\n", Reply::Missing),
        (b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+x\r\n", Reply::Good),
        (b"%1\r\n$1\r\na\r\n$1\r\nb\r\n", Reply::Good),
    ];
    for &(bytes, kind) in resp {
        check(scan::resp, bytes, kind);
    }
    let memcached: &[(&[u8], Reply)] = &[
        (b"STORED\r\n", Reply::Good),
        (b"END\r\n", Reply::Missing),
        (b"VALUE k 0 5\r\nEND\r\n\r\nEND\r\n", Reply::Good),
        (b"VA 4 t9\r\nHD\r\n\r\n", Reply::Good),
        (b"HD\r\n", Reply::Good),
        (b"EN\r\n", Reply::Missing),
        (b"NOT_FOUND\r\n", Reply::Missing),
        (b"SERVER_ERROR out of memory\r\n", Reply::Refused),
    ];
    for &(bytes, kind) in memcached {
        check(scan::memcached, bytes, kind);
    }
}

fn check(scan: fn(&[u8]) -> Scan, reply: &[u8], kind: Reply) {
    for cut in 0..reply.len() {
        assert_eq!(scan(&reply[..cut]), Scan::More, "{:?} cut at {cut}", reply.escape_ascii());
    }
    let mut two = reply.to_vec();
    two.extend_from_slice(reply);
    assert_eq!(scan(&two), Scan::Done(reply.len(), kind), "{:?}", reply.escape_ascii());
}

#[test]
fn nonsense_is_broken() {
    for bytes in [&b"hello\r\n"[..], b"$x\r\n", b"$99999999999\r\n", b"*x\r\n"] {
        assert_eq!(scan::resp(bytes), Scan::Broken, "{:?}", bytes.escape_ascii());
    }
    for bytes in [&b"hello\r\n"[..], b"VALUE k\r\n", b"VA x\r\n"] {
        assert_eq!(scan::memcached(bytes), Scan::Broken, "{:?}", bytes.escape_ascii());
    }
}
