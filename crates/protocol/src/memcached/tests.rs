//! What requests are taken apart into, and what is answered to what is none.

use super::{Flag, McDecoder, McLimits, McOutcome, Mode, Request};

const LIMITS: McLimits = McLimits { item_max: 100 };

/// The request at the start of `input` goes to `check`.
#[track_caller]
fn decode(input: &[u8], check: impl FnOnce(McOutcome<'_>)) {
    check(McDecoder::default().decode(input, &LIMITS));
}

#[track_caller]
fn request(input: &[u8], check: impl FnOnce(Request<'_>)) {
    decode(input, |outcome| match outcome {
        McOutcome::Request { request, consumed, swallow: 0 } if consumed == input.len() => {
            check(request);
        }
        other => panic!("{other:?}"),
    });
}

#[track_caller]
fn rejected(input: &[u8], answer: &str, thrown_away: u64) {
    decode(input, |outcome| match outcome {
        McOutcome::Reject { line, swallow, .. } => {
            assert_eq!((String::from_utf8_lossy(line).as_ref(), swallow), (answer, thrown_away));
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn storage_commands() {
    request(b"cas key 5 -1 3 77 noreply\r\nabc\r\n", |request| {
        assert!(request.noreply());
        let Request::Store { storing, .. } = request else { panic!("{request:?}") };
        assert_eq!((storing.key, storing.value), (&b"key"[..], &b"abc"[..]));
        assert_eq!((storing.flags, storing.exptime, storing.compare), (5, -1, Some(77)));
    });
    request(b"prepend k 0 0 0\n\r\n", |request| {
        let Request::Store { storing, noreply: false } = request else { panic!("{request:?}") };
        assert_eq!((storing.mode, storing.value), (Mode::Prepend, &b""[..]));
    });
}

#[test]
fn keys_come_in_their_order() {
    request(b"gats 30  b a \r\n", |request| {
        let Request::GetAndTouch { exptime: 30, keys, with_cas: true } = request else {
            panic!("{request:?}")
        };
        assert_eq!(keys.collect::<Vec<_>>(), [b"b", b"a"]);
    });
    let long = format!("get {}\r\n", "key ".repeat(10_000));
    request(long.as_bytes(), |request| match request {
        Request::Get { keys, .. } => assert_eq!(keys.count(), 10_000),
        other => panic!("{other:?}"),
    });
}

#[test]
fn meta_commands_keep_their_flags() {
    request(b"ms YWJj 2 b T30 q O7 MA F9\r\nhi\r\n", |request| {
        let Request::MetaSet(head, set) = request else { panic!("{request:?}") };
        assert_eq!((head.key, head.shown), (&b"abc"[..], &b"YWJj"[..]));
        assert!(head.quiet && head.base64 && head.flags.has(b'T') && !head.flags.has(b't'));
        let letters: Vec<u8> = head.flags.iter().map(|flag| flag.letter).collect();
        assert_eq!(letters, b"bTqOMF");
        assert!(head.flags.iter().any(|flag| flag == Flag { letter: b'O', token: b"7" }));
        assert_eq!((set.mode, set.flags, set.exptime), (Mode::Append, 9, 30));
        assert_eq!(set.value, b"hi");
    });
}

#[test]
fn what_is_refused_leaves_the_connection_in_step() {
    rejected(b"set k x 0 5\r\nhello\r\n", "CLIENT_ERROR bad command line format", 7);
    rejected(b"set k x 0 5 noreply\r\nhello\r\n", "", 7);
    rejected(b"set k 0 0 x\r\n", "CLIENT_ERROR bad command line format", 0);
    rejected(b"ms k 5 v v\r\nhello\r\n", "CLIENT_ERROR duplicate flag", 7);
    rejected(b"set k 0 0 3\r\nabcdef\r\n", "CLIENT_ERROR bad data chunk", 0);
    rejected(b"mg k x\r\n", "CLIENT_ERROR invalid flag", 0);
    rejected(b"ma k Dx\r\n", "CLIENT_ERROR invalid or duplicate flag", 0);
    rejected(b"\r\n", "ERROR", 0);
    decode(b"add k 0 0 101\r\n", |outcome| match outcome {
        McOutcome::Request {
            request: Request::TooLarge { key: b"k", mode: Mode::Add, noreply: false },
            consumed: 15,
            swallow: 103,
        } => {}
        other => panic!("{other:?}"),
    });
}

#[test]
fn http_and_lines_without_end_close() {
    let endless = [b'x'; 2049];
    for input in [&b"GET / HTTP/1.1\r\n"[..], b"host: x\r\n", &endless] {
        decode(input, |outcome| assert!(matches!(outcome, McOutcome::Close { .. })));
    }
}
