//! Bytes to requests, one at a time.
//!
//! ```text
//! input -> line found? -> taken apart -> with a data block? -> all there? -> ends in \r\n?
//!           no: wait       no request: refused, block swallowed   no: wait    no: refused
//! ```
//!
//! What always holds: how the input is cut into pieces changes nothing of what is decoded; what
//! was searched once isn't searched again.

use super::base64::DECODED_MAX;
use super::request::{Mode, Request};
use super::text;
use crate::limits::{MC_ITEM_MAX, MC_LINE_MAX, MC_MULTI_LINE_MAX};

/// What the configuration says about requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct McLimits {
    /// Bytes of the largest item. A value that is larger is thrown away unseen; whether a smaller
    /// one fits together with its key is the store's to say.
    pub item_max: usize,
}

impl Default for McLimits {
    fn default() -> Self {
        Self { item_max: MC_ITEM_MAX }
    }
}

/// What became of the input.
#[derive(Clone, Copy, Debug)]
pub enum McOutcome<'b> {
    /// A request.
    Request {
        /// The request.
        request: Request<'b>,
        /// Bytes that it took from the front.
        consumed: usize,
        /// Bytes behind them to throw away unseen: those of a value that is too large.
        swallow: u64,
    },
    /// It's not complete. The next input begins with the same bytes.
    NeedMore {
        /// Bytes of input, those that are there included, without which there is no use in
        /// trying again.
        at_least: usize,
    },
    /// It's no request. The connection goes on.
    Reject {
        /// Bytes that it took from the front.
        consumed: usize,
        /// The answer without its line end; empty if none is wanted.
        line: &'static [u8],
        /// Bytes behind them to throw away unseen.
        swallow: u64,
    },
    /// It's no use going on: HTTP, or a line without end.
    Close {
        /// The answer without its line end; empty if there is none.
        line: &'static [u8],
    },
}

/// The decoder of one connection.
#[derive(Debug, Default)]
pub struct McDecoder {
    /// Bytes at the front of the input without a line end.
    searched: usize,
    /// Bytes that the data block in progress reaches to.
    needed: usize,
    /// Where a key in base64 is decoded to; most connections never have one.
    key: Option<Box<[u8; DECODED_MAX]>>,
}

/// What a line says.
pub(super) enum Line<'b> {
    /// A request without a data block.
    Request(Request<'b>),
    /// A request, and how many bytes of value follow it.
    Block(Request<'b>, u64),
    /// No request, and how many bytes of value follow it.
    Refused(&'static [u8], Option<u64>),
    /// HTTP.
    Foreign,
}

/// Where a key in base64 is decoded to.
pub(super) type KeyBuffer = Option<Box<[u8; DECODED_MAX]>>;

/// Bytes behind a value.
const END: &[u8] = b"\r\n";

impl McDecoder {
    /// Decodes the request at the start of `input`.
    ///
    /// After [`McOutcome::NeedMore`] the next input begins with the same bytes; after any other
    /// outcome with those behind what was consumed and swallowed.
    pub fn decode<'b>(&'b mut self, input: &'b [u8], limits: &McLimits) -> McOutcome<'b> {
        let Self { searched, needed, key } = self;
        if input.len() < *needed {
            return McOutcome::NeedMore { at_least: *needed };
        }
        let fresh = input.get(*searched..).unwrap_or_default();
        let found = memchr::memchr(b'\n', fresh).map(|at| *searched + at);
        let length = found.unwrap_or(input.len());
        if length > MC_LINE_MAX && (length > MC_MULTI_LINE_MAX || !text::has_many_keys(input)) {
            (*searched, *needed) = (0, 0);
            return McOutcome::Close { line: b"" };
        }
        let Some(newline) = found else {
            *searched = length;
            return McOutcome::NeedMore { at_least: length + 1 };
        };
        let line = input.get(..newline).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let consumed = newline + 1;
        let decoded = text::parse(line, key);
        if let Line::Block(_, len) = decoded
            && len <= limits.item_max as u64
        {
            let whole = consumed + len as usize + END.len();
            if input.len() < whole {
                (*searched, *needed) = (newline, whole);
                return McOutcome::NeedMore { at_least: whole };
            }
        }
        (*searched, *needed) = (0, 0);
        match decoded {
            Line::Request(request) => McOutcome::Request { request, consumed, swallow: 0 },
            Line::Block(request, len) => finish(request, len, input, consumed, limits),
            Line::Refused(line, len) => {
                let swallow = len.map_or(0, |len| len + END.len() as u64);
                McOutcome::Reject { consumed, line, swallow }
            }
            Line::Foreign => McOutcome::Close { line: b"" },
        }
    }
}

/// Gives a request its value, whose bytes are there, or which is too large.
#[inline]
fn finish<'b>(
    request: Request<'b>,
    len: u64,
    input: &'b [u8],
    start: usize,
    limits: &McLimits,
) -> McOutcome<'b> {
    if len > limits.item_max as u64 {
        let request = too_large(&request);
        return McOutcome::Request { request, consumed: start, swallow: len + END.len() as u64 };
    }
    let end = start + len as usize;
    let consumed = end + END.len();
    if input.get(end..consumed) != Some(END) {
        let line: &[u8] = if request.noreply() { b"" } else { b"CLIENT_ERROR bad data chunk" };
        return McOutcome::Reject { consumed, line, swallow: 0 };
    }
    let value = input.get(start..end).unwrap_or_default();
    McOutcome::Request { request: request.with_value(value), consumed, swallow: 0 }
}

fn too_large<'b>(request: &Request<'b>) -> Request<'b> {
    let mode = match request {
        Request::Store { storing, .. } if storing.compare.is_none() => storing.mode,
        Request::Store { .. } => Mode::Replace,
        Request::MetaSet(_, set) => set.mode,
        _ => Mode::Set,
    };
    let key = request.key().unwrap_or_default();
    Request::TooLarge { key, mode, noreply: request.noreply() }
}
