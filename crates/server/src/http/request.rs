//! The head of a request, from bytes: as much of HTTP/1.1 (RFC 9112) as a GET without a body needs.
//!
//! What always holds: what could be read in two ways is refused (bare line feeds, folded lines,
//! blanks before a colon, two hosts, any body), and so is what is longer than its bound, before
//! memory is taken for it. What follows the head is never looked at: a connection serves one request.

use super::answer::Status;
use crate::limits::{HTTP_HEAD, HTTP_HEADERS, HTTP_TARGET};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'b> {
    /// Whether the answer's body is wanted: GET, not HEAD.
    pub(super) body: bool,
    /// The path, up to a question mark.
    pub(super) path: &'b str,
    /// Whom it asks, as the Host line has it.
    pub(super) host: &'b str,
}

/// The request at the start of these bytes; none if its head isn't complete.
///
/// # Errors
/// The status that says what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Request<'_>>, Status> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return unfinished(bytes);
    };
    if end > HTTP_HEAD {
        return Err(Status::TooLarge);
    }
    let head = bytes.get(..end).unwrap_or_default();
    // Only text may stand in it, so that no log, page or proxy reads it otherwise.
    let is_text = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\t' | b' '..=b'~');
    let head = match std::str::from_utf8(head) {
        Ok(text) if head.iter().all(is_text) => text,
        _ => return Err(Status::Bad),
    };
    let mut lines = head.split("\r\n");
    let (body, path) = first_line(lines.next().unwrap_or_default())?;
    let mut host = None;
    for (number, line) in lines.enumerate() {
        if number >= HTTP_HEADERS {
            return Err(Status::TooLarge);
        }
        let (name, value) = header(line)?;
        if name.eq_ignore_ascii_case("host") && host.replace(value).is_some() {
            return Err(Status::Bad);
        }
        let is_empty = name.eq_ignore_ascii_case("content-length") && value == "0";
        let names_body = ["content-length", "transfer-encoding"];
        if !is_empty && names_body.iter().any(|one| name.eq_ignore_ascii_case(one)) {
            return Err(Status::Bad);
        }
    }
    let host = host.ok_or(Status::Bad)?;
    Ok(Some(Request { body, path, host }))
}

/// What there is may still become a request.
fn unfinished(bytes: &[u8]) -> Result<Option<Request<'_>>, Status> {
    if bytes.len() > HTTP_HEAD {
        return Err(Status::TooLarge);
    }
    // The first line is judged as soon as it's there: nobody has to finish what is refused anyway.
    match bytes.windows(2).position(|two| two == b"\r\n") {
        Some(end) => {
            let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default());
            first_line(line.map_err(|_| Status::Bad)?).map(|_| None)
        }
        None if bytes.iter().any(|byte| *byte == b'\n' || *byte == 0) => Err(Status::Bad),
        None => Ok(None),
    }
}

fn first_line(line: &str) -> Result<(bool, &str), Status> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Status::Bad);
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !is_name(method) {
        return Err(Status::Bad);
    }
    let body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Err(Status::Method),
    };
    if target.len() > HTTP_TARGET {
        return Err(Status::TooLarge);
    }
    // A whole URL would name a second host.
    if !target.starts_with('/') || target.contains(['#', '\t', '\r', '\n']) {
        return Err(Status::Bad);
    }
    Ok((body, target.split('?').next().unwrap_or_default()))
}

fn header(line: &str) -> Result<(&str, &str), Status> {
    let (name, value) = line.split_once(':').ok_or(Status::Bad)?;
    if !is_name(name) || value.contains(['\r', '\n']) {
        return Err(Status::Bad);
    }
    Ok((name, value.trim_matches([' ', '\t'])))
}

/// A token of RFC 9110.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}
