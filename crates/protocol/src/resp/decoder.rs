//! Requests, decoded as their bytes arrive.
//!
//! What always holds: a request is decoded the same however its bytes were cut up on the way; no
//! memory is taken for what was merely announced; the work is linear in the bytes, since a
//! request that isn't complete is taken up again where it stopped.

use super::inline;
use super::number::parse_i64;
use crate::args::{Args, OwnedArgs, Span};
use crate::limits;
use std::borrow::Cow;

/// What a connection may send; from the configuration and its state.
#[derive(Clone, Copy, Debug)]
pub struct RespLimits {
    /// Arguments of one request.
    pub max_args: usize,
    /// Bytes of one argument (`proto-max-bulk-len`).
    pub max_bulk: usize,
    /// Bytes of an inline request, or of a length line.
    pub max_inline: usize,
    /// Whether the client may send more than what logging in takes.
    pub authenticated: bool,
}

impl Default for RespLimits {
    fn default() -> Self {
        Self {
            max_args: limits::ARGS_MAX,
            max_bulk: limits::BULK_MAX,
            max_inline: limits::INLINE_MAX,
            authenticated: true,
        }
    }
}

/// How decoding went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A request; its arguments were appended to the spans. None: an empty request, no reply.
    Done {
        /// Its bytes.
        consumed: usize,
    },
    /// An inline request with quotes; its arguments are [`Decoder::inline_args`].
    DoneInline {
        /// Its bytes.
        consumed: usize,
    },
    /// The request isn't complete.
    NeedMore {
        /// Bytes of input, all counted, with which it would be worth trying again.
        at_least: usize,
    },
    /// The bytes are no request; the connection can't go on.
    Fail(Fail),
}

/// What was wrong with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// The number of arguments isn't one, or is too large.
    MultibulkLength,
    /// The length of an argument isn't one, or is too large.
    BulkLength,
    /// An argument doesn't begin with `$` but with this.
    ExpectedDollar(u8),
    /// An inline request without end.
    BigInline,
    /// A number of arguments without end.
    BigCount,
    /// A length without end.
    BigBulkCount,
    /// Quotes that don't close.
    Quotes,
    /// Too many arguments for a client that hasn't logged in.
    UnauthenticatedMultibulk,
    /// Too long an argument for a client that hasn't logged in.
    UnauthenticatedBulk,
}

impl Fail {
    /// The sentence after `ERR `, as Redis has it.
    pub fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::MultibulkLength => "Protocol error: invalid multibulk length",
            Self::BulkLength => "Protocol error: invalid bulk length",
            Self::BigInline => "Protocol error: too big inline request",
            Self::BigCount => "Protocol error: too big mbulk count string",
            Self::BigBulkCount => "Protocol error: too big bulk count string",
            Self::Quotes => "Protocol error: unbalanced quotes in request",
            Self::UnauthenticatedMultibulk => "Protocol error: unauthenticated multibulk length",
            Self::UnauthenticatedBulk => "Protocol error: unauthenticated bulk length",
            Self::ExpectedDollar(got) => {
                return format!("Protocol error: expected '$', got '{}'", char::from(*got)).into();
            }
        })
    }
}

/// The decoder of one connection.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Of a request that isn't complete: what is known of it.
    pending: Option<Box<Pending>>,
    inline: OwnedArgs,
}

#[derive(Debug, Default)]
struct Pending {
    spans: Vec<Span>,
    at: usize,
    left: usize,
    /// Where the search for the end of a line goes on.
    searched: usize,
    begun: bool,
}

enum Step {
    Line { text: (usize, usize), next: usize },
    More,
}

impl Decoder {
    /// Decodes the request at the start of `input`, appending its arguments to `spans`. After
    /// `NeedMore`, call again with the same bytes and more of them.
    #[inline]
    pub fn decode(&mut self, input: &[u8], spans: &mut Vec<Span>, limits: &RespLimits) -> Outcome {
        if self.pending.is_none()
            && let Some(consumed) = fast(input, spans, limits)
        {
            return Outcome::Done { consumed };
        }
        match input.first() {
            None => Outcome::NeedMore { at_least: 1 },
            Some(b'*') => self.multibulk(input, spans, limits),
            Some(_) => self.inline_request(input, spans, limits),
        }
    }

    /// The arguments of the inline request that was decoded last, if it had quotes.
    pub fn inline_args(&self) -> Args<'_> {
        self.inline.as_args()
    }

    /// As [`Decoder::inline_args`], handed over.
    pub fn take_inline(&mut self) -> OwnedArgs {
        std::mem::take(&mut self.inline)
    }

    fn multibulk(&mut self, input: &[u8], spans: &mut Vec<Span>, limits: &RespLimits) -> Outcome {
        let mut state = self.pending.take().unwrap_or_default();
        let outcome = advance(&mut state, input, limits);
        match outcome {
            Ok(Some(at_least)) => {
                self.pending = Some(state);
                Outcome::NeedMore { at_least }
            }
            Ok(None) => {
                spans.extend_from_slice(&state.spans);
                Outcome::Done { consumed: state.at }
            }
            Err(fail) => Outcome::Fail(fail),
        }
    }

    fn inline_request(
        &mut self,
        input: &[u8],
        spans: &mut Vec<Span>,
        limits: &RespLimits,
    ) -> Outcome {
        let searched = self.pending.take().map_or(0, |pending| pending.searched);
        let Some(end) = find(input, searched, b'\n') else {
            if input.len() > limits.max_inline {
                return Outcome::Fail(Fail::BigInline);
            }
            self.pending = Some(Box::new(Pending { searched: input.len(), ..Pending::default() }));
            return Outcome::NeedMore { at_least: input.len() + 1 };
        };
        let line = input.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limits.max_inline {
            return Outcome::Fail(Fail::BigInline);
        }
        let consumed = end + 1;
        if inline::plain(line, spans) {
            return Outcome::Done { consumed };
        }
        self.inline = OwnedArgs::default();
        if !inline::quoted(line, &mut self.inline) {
            return Outcome::Fail(Fail::Quotes);
        }
        Outcome::DoneInline { consumed }
    }
}

/// Decodes a request that is there as a whole and looks ordinary; otherwise leaves no trace.
#[inline]
fn fast(input: &[u8], spans: &mut Vec<Span>, limits: &RespLimits) -> Option<usize> {
    if !limits.authenticated {
        return None;
    }
    let (count, mut at) = short_number(input, 0, b'*')?;
    if count == 0 || count > limits.max_args {
        return None;
    }
    let before = spans.len();
    for _ in 0..count {
        let argument = short_number(input, at, b'$').and_then(|(len, start)| {
            let whole = len <= limits.max_bulk && start + len + 2 <= input.len();
            whole.then_some((start, len))
        });
        let Some((start, len)) = argument else {
            spans.truncate(before);
            return None;
        };
        spans.push(Span { start: start as u32, len: len as u32 });
        at = start + len + 2;
    }
    Some(at)
}

/// The first argument after the name of the ordinary request at the start of `input`, which for
/// most commands is a key. A glance, not a decision: the request may be anything.
#[inline]
pub fn first_key(input: &[u8]) -> Option<&[u8]> {
    let (count, at) = short_number(input, 0, b'*')?;
    let (len, start) = short_number(input, at, b'$')?;
    if count < 2 {
        return None;
    }
    let (len, start) = short_number(input, start + len + 2, b'$')?;
    input.get(start..start + len)
}

/// Reads `<kind><up to 7 digits>\r\n` at `at`: the number, and where the line ends.
#[inline(always)]
fn short_number(input: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let line = input.get(at..)?;
    let (first, rest) = line.split_first()?;
    if *first != kind {
        return None;
    }
    let mut value = 0usize;
    for (i, c) in rest.iter().take(8).enumerate() {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            // A leading zero, an empty number or anything odd is for the slow path to judge.
            let odd = i == 0 || i > 1 && rest.first() == Some(&b'0');
            if odd || *c != b'\r' || rest.get(i + 1) != Some(&b'\n') {
                return None;
            }
            return Some((value, at + i + 3));
        }
        value = value * 10 + usize::from(digit);
    }
    None
}

/// Goes on with a request; `None` when it's complete, or how many bytes it wants.
fn advance(state: &mut Pending, input: &[u8], limits: &RespLimits) -> Result<Option<usize>, Fail> {
    if !state.begun {
        let line = match line(state, input, limits, Fail::BigCount)? {
            Step::More => return Ok(Some(input.len() + 1)),
            Step::Line { text, next } => {
                state.at = next;
                input.get(text.0..text.1).unwrap_or_default()
            }
        };
        let count = parse_i64(line).filter(|n| *n <= limits.max_args as i64);
        let count = count.ok_or(Fail::MultibulkLength)?;
        if !limits.authenticated && count > limits::UNAUTHENTICATED_ARGS_MAX as i64 {
            return Err(Fail::UnauthenticatedMultibulk);
        }
        state.left = usize::try_from(count).unwrap_or(0);
        state.begun = true;
    }
    while state.left > 0 {
        let Some(first) = input.get(state.at) else { return Ok(Some(state.at + 1)) };
        let (start, len, next) = match line(state, input, limits, Fail::BigBulkCount)? {
            Step::More => return Ok(Some(input.len() + 1)),
            Step::Line { .. } if *first != b'$' => return Err(Fail::ExpectedDollar(*first)),
            Step::Line { text, next } => {
                let number = input.get(text.0..text.1).and_then(parse_i64);
                let len = number.and_then(|n| usize::try_from(n).ok());
                let len = len.filter(|n| *n <= limits.max_bulk).ok_or(Fail::BulkLength)?;
                if !limits.authenticated && len > limits::UNAUTHENTICATED_BULK_MAX {
                    return Err(Fail::UnauthenticatedBulk);
                }
                (next, len, next + len + 2)
            }
        };
        if input.len() < next {
            state.searched = 0;
            return Ok(Some(next));
        }
        state.spans.push(Span { start: start as u32, len: len as u32 });
        state.at = next;
        state.searched = 0;
        state.left -= 1;
    }
    Ok(None)
}

/// The text of the line at the state's position, without its first byte and its end.
fn line(
    state: &mut Pending,
    input: &[u8],
    limits: &RespLimits,
    too_long: Fail,
) -> Result<Step, Fail> {
    match find(input, state.at.max(state.searched), b'\r') {
        Some(end) if end + 1 < input.len() => {
            state.searched = 0;
            Ok(Step::Line { text: (state.at + 1, end), next: end + 2 })
        }
        end => {
            state.searched = end.unwrap_or(input.len());
            if input.len() - state.at > limits.max_inline { Err(too_long) } else { Ok(Step::More) }
        }
    }
}

fn find(input: &[u8], from: usize, byte: u8) -> Option<usize> {
    memchr::memchr(byte, input.get(from..)?).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], limits: &RespLimits, cut: usize) -> Result<Vec<Vec<Vec<u8>>>, Fail> {
        let mut decoder = Decoder::default();
        let (mut from, mut seen, mut out) = (0, cut.min(input.len()), Vec::new());
        loop {
            let mut spans = Vec::new();
            let here = &input[from..seen];
            match decoder.decode(here, &mut spans, limits) {
                Outcome::Done { consumed } => {
                    let args = Args::new(here, &spans);
                    out.push(args.iter().map(<[u8]>::to_vec).collect());
                    from += consumed;
                }
                Outcome::DoneInline { consumed } => {
                    out.push(decoder.inline_args().iter().map(<[u8]>::to_vec).collect());
                    from += consumed;
                }
                Outcome::NeedMore { at_least } => {
                    assert!(at_least > here.len());
                    if seen == input.len() {
                        return Ok(out);
                    }
                    seen = (seen + cut.max(1)).min(input.len());
                }
                Outcome::Fail(fail) => return Err(fail),
            }
        }
    }

    #[test]
    fn requests_decode_the_same_however_they_are_cut() {
        let inputs: [&[u8]; 12] = [
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n",
            b"PING\r\nSET a  b\n\r\nGET \"a b\\x41\"\r\n",
            b"*0\r\n*-1\r\n*1\r\n$0\r\n\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n:1\r\n",
            b"*abc\r\n",
            b"*1048577\r\n",
            b"*9223372036854775808\r\n",
            b"*1\r\n$536870913\r\n",
            b"GET \"a\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n",
            b"*01\r\n$4\r\nPING\r\n",
        ];
        for input in inputs {
            let whole = all(input, &RespLimits::default(), input.len());
            for cut in 1..input.len() {
                assert_eq!(all(input, &RespLimits::default(), cut), whole, "{input:?} by {cut}");
            }
        }
    }

    #[test]
    fn a_glance_finds_the_first_key() {
        assert_eq!(first_key(b"*2\r\n$3\r\nGET\r\n$2\r\nab\r\n"), Some(&b"ab"[..]));
        for other in
            [&b"*1\r\n$4\r\nPING\r\n"[..], b"", b"GET ab\r\n", b"*2\r\n$3\r\nGET\r\n$9\r\nab"]
        {
            assert_eq!(first_key(other), None);
        }
    }

    #[test]
    fn strangers_may_send_little() {
        let limits = RespLimits { authenticated: false, ..RespLimits::default() };
        assert_eq!(all(b"*11\r\n", &limits, 99), Err(Fail::UnauthenticatedMultibulk));
        assert_eq!(all(b"*1\r\n$16385\r\n", &limits, 99), Err(Fail::UnauthenticatedBulk));
        assert!(all(b"*1\r\n$4\r\nPING\r\n", &limits, 99).is_ok());
    }
}
