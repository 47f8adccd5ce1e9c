//! Where a reply ends, and of what kind it is. Nothing is built, nothing is copied.
//!
//! What always holds: a reply is complete or not, whatever the cuts; a nested reply costs one
//! counter and no recursion; a length over the bound is an error, so that no server can make the
//! generator wait for bytes that never come.

use memchr::memchr;

use crate::limits::REPLY_MOST;

/// What was found at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// No complete reply yet.
    More,
    /// A reply of so many bytes.
    Done(usize, Reply),
    /// These bytes are no reply.
    Broken,
}

/// The kinds of replies that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A value, a number, a status: it worked.
    Good,
    /// Nothing there: null, an empty collection, END, EN, NF.
    Missing,
    /// The server said no.
    Refused,
}

/// One RESP2 or RESP3 reply.
pub fn resp(input: &[u8]) -> Scan {
    let mut at = 0;
    let mut left = 1usize;
    let mut kind = None;
    while left > 0 {
        let Some(rest) = input.get(at..) else { return Scan::More };
        let Some((&mark, line, used)) = line(rest) else {
            return if rest.len() > REPLY_MOST { Scan::Broken } else { Scan::More };
        };
        at += used;
        left -= 1;
        let reply = match mark {
            b'+' | b':' | b',' | b'(' | b'#' => Reply::Good,
            b'-' => Reply::Refused,
            b'_' => Reply::Missing,
            b'$' | b'=' | b'!' => match length(line) {
                Some(None) => Reply::Missing,
                Some(Some(bytes)) => {
                    at += bytes + 2;
                    if at > input.len() {
                        return Scan::More;
                    }
                    if mark == b'!' { Reply::Refused } else { Reply::Good }
                }
                None => return Scan::Broken,
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match length(line) {
                Some(None | Some(0)) => Reply::Missing,
                Some(Some(members)) => {
                    left += members * if matches!(mark, b'%' | b'|') { 2 } else { 1 };
                    Reply::Good
                }
                None => return Scan::Broken,
            },
            _ => return Scan::Broken,
        };
        kind.get_or_insert(reply);
    }
    Scan::Done(at, kind.unwrap_or(Reply::Good))
}

/// One memcached reply, classic or meta: values are followed by their data, and a classic `get`
/// ends with END.
pub fn memcached(input: &[u8]) -> Scan {
    let mut at = 0;
    let mut found = false;
    loop {
        let Some(rest) = input.get(at..) else { return Scan::More };
        let Some(end) = memchr(b'\n', rest) else {
            return if rest.len() > REPLY_MOST { Scan::Broken } else { Scan::More };
        };
        let line = rest.get(..end).unwrap_or_default().trim_ascii_end();
        at += end + 1;
        let mut words = line.split(|&byte| byte == b' ');
        let reply = match words.next().unwrap_or_default() {
            b"VALUE" => {
                let Some(bytes) = words.nth(2).and_then(decimal) else { return Scan::Broken };
                at += bytes + 2;
                found = true;
                continue;
            }
            b"VA" => {
                let Some(bytes) = words.next().and_then(decimal) else { return Scan::Broken };
                at += bytes + 2;
                if at > input.len() {
                    return Scan::More;
                }
                Reply::Good
            }
            b"END" if found => Reply::Good,
            b"END" | b"EN" | b"NF" | b"NOT_FOUND" => Reply::Missing,
            b"STORED" | b"DELETED" | b"TOUCHED" | b"HD" | b"MN" | b"OK" | b"VERSION" => Reply::Good,
            b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" | b"NOT_STORED" | b"EXISTS" | b"NS"
            | b"EX" => Reply::Refused,
            _ => return Scan::Broken,
        };
        return Scan::Done(at, reply);
    }
}

/// The mark, the rest of the line without its end, and the bytes of all.
fn line(input: &[u8]) -> Option<(&u8, &[u8], usize)> {
    let end = memchr(b'\n', input)?;
    let (mark, rest) = input.get(..end)?.split_first()?;
    Some((mark, rest.trim_ascii_end(), end + 1))
}

/// A length within the bound; -1 is `Some(None)`.
fn length(text: &[u8]) -> Option<Option<usize>> {
    if text == b"-1" { Some(None) } else { decimal(text).map(Some) }
}

fn decimal(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|&bytes| bytes <= REPLY_MOST)
}
