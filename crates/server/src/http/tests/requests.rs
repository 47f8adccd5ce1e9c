//! What is taken for a request, and whom it may be meant for.

use crate::http::answer::Status;
use crate::http::origin;
use crate::http::request::{Request, parse};
use crate::limits;

const HOST: &str = "Host: localhost\r\n";

#[test]
fn requests_that_are_taken() {
    let get = Request { body: true, path: "/metrics", host: "localhost" };
    for (text, request) in [
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", get),
        ("GET /metrics HTTP/1.0\r\nhost:\tlocalhost \r\n\r\n", get),
        ("GET /metrics?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", get),
        (
            "HEAD /metrics HTTP/1.1\r\nA: b\r\nHost: localhost\r\n\r\nmore",
            Request { body: false, ..get },
        ),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", get),
    ] {
        assert_eq!(parse(text.as_bytes()), Ok(Some(request)), "{text:?}");
        // What there is of it is never taken for all of it, nor for something wrong.
        let end = text.find("\r\n\r\n").unwrap() + 4;
        for cut in 0..end {
            assert_eq!(parse(&text.as_bytes()[..cut]), Ok(None), "{:?}", &text[..cut]);
        }
    }
}

#[test]
fn requests_that_are_refused() {
    let long = "a".repeat(limits::HTTP_HEAD);
    let many = "A: b\r\n".repeat(limits::HTTP_HEADERS + 1);
    let cases = [
        (format!("POST / HTTP/1.1\r\n{HOST}\r\n"), Status::Method),
        (format!("OPTIONS * HTTP/1.1\r\n{HOST}\r\n"), Status::Method),
        ("DELETE / HTTP/1.1\r\n".to_owned(), Status::Method),
        (format!("GET http://localhost/ HTTP/1.1\r\n{HOST}\r\n"), Status::Bad),
        (format!("GET /#x HTTP/1.1\r\n{HOST}\r\n"), Status::Bad),
        (format!("GET  / HTTP/1.1\r\n{HOST}\r\n"), Status::Bad),
        (format!("GET / HTTP/2.0\r\n{HOST}\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1 x\r\n{HOST}\r\n"), Status::Bad),
        (format!("get\u{e9} / HTTP/1.1\r\n{HOST}\r\n"), Status::Bad),
        ("GET /\r\n\r\n".to_owned(), Status::Bad),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), Status::Bad),
        ("GET / HTTP/1.1\nHost: localhost\n\n".to_owned(), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}A: b\nC: d\r\n\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST} folded\r\n\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}A : b\r\n\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}: b\r\n\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}A: \0\r\n\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}Content-Length: 1\r\n\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}Content-Length: 00\r\n\r\n"), Status::Bad),
        (format!("GET / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"), Status::Bad),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(limits::HTTP_TARGET)), Status::TooLarge),
        (format!("GET / HTTP/1.1\r\n{HOST}A: {long}\r\n\r\n"), Status::TooLarge),
        (format!("GET / HTTP/1.1\r\nA: {long}"), Status::TooLarge),
        (format!("{long}a"), Status::TooLarge),
        (format!("GET / HTTP/1.1\r\n{HOST}{many}\r\n"), Status::TooLarge),
        ("*1\r\n$4\r\nPING\r\n".to_owned(), Status::Bad),
        ("\0".to_owned(), Status::Bad),
    ];
    for (text, status) in cases {
        let short: String = text.chars().take(60).collect();
        assert_eq!(parse(text.as_bytes()), Err(status), "{short:?}");
    }
}

#[test]
fn hosts_that_only_this_server_has() {
    let names = ["store.example".to_owned()];
    for (host, ours) in [
        ("localhost", true),
        ("LocalHost:9000", true),
        ("127.0.0.1:1", true),
        ("10.0.0.1", true),
        ("[::1]", true),
        ("[::1]:80", true),
        ("Store.Example:443", true),
        ("", false),
        (":80", false),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("localhost:evil", false),
        ("localhost:80:80", false),
        ("localhost:123456", false),
        ("[::1", false),
        ("[::1]evil", false),
        ("[::1]x:80", false),
        ("[evil.example]", false),
        ("::1", false),
        ("evil.example@localhost", false),
        ("localhost,evil", false),
    ] {
        assert_eq!(origin::is_ours(host, &names), ours, "{host}");
    }
}
