//! What goes back: a status, a body, and headers that keep a browser strict.
//!
//! What always holds: every answer says that it isn't to be kept, framed, guessed at or read by
//! other sites, and that the connection is over.

/// The statuses that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// 200.
    Ok,
    /// 400: not a request, or not one that is taken here.
    Bad,
    /// 404.
    Missing,
    /// 405: neither GET nor HEAD.
    Method,
    /// 421: meant for another host.
    Misdirected,
    /// 431: longer than is taken here.
    TooLarge,
    /// 503: the store isn't there yet, or doesn't take writes.
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Bad => "400 Bad Request",
            Self::Missing => "404 Not Found",
            Self::Method => "405 Method Not Allowed",
            Self::Misdirected => "421 Misdirected Request",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    kind: &'static str,
    /// What the answer's page may do: a Content-Security-Policy.
    policy: String,
    body: String,
}

/// Nothing at all: for what isn't a page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

impl Answer {
    /// Plain text.
    pub(super) fn text(status: Status, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// What a status says by itself.
    pub(super) fn plain(status: Status) -> Self {
        Self::text(status, format!("{}\n", status.line()))
    }

    /// JSON.
    pub(super) fn json(status: Status, body: String) -> Self {
        Self::new(status, "application/json", body)
    }

    /// Prometheus' text format.
    pub(super) fn metrics(body: String) -> Self {
        Self::new(Status::Ok, "text/plain; version=0.0.4; charset=utf-8", body)
    }

    /// A page whose own style and script carry `nonce`; it may ask this server, and no other.
    pub(super) fn page(nonce: &str, body: String) -> Self {
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        Self { policy, ..Self::new(Status::Ok, "text/html; charset=utf-8", body) }
    }

    fn new(status: Status, kind: &'static str, body: String) -> Self {
        Self { status, kind, policy: NOTHING.to_owned(), body }
    }

    /// Its bytes; the body only if it's wanted.
    pub(super) fn bytes(&self, body: bool) -> Vec<u8> {
        let allow = if self.status == Status::Method { "Allow: GET, HEAD\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {}\r\n{allow}Content-Type: {}\r\nContent-Length: {}\r\n\
             Content-Security-Policy: {}\r\nX-Content-Type-Options: nosniff\r\n\
             X-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\n\
             Cross-Origin-Opener-Policy: same-origin\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            self.status.line(),
            self.kind,
            self.body.len(),
            self.policy
        );
        if body {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}
