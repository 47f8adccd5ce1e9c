//! Inline requests: words on a line, as typed by hand.
//!
//! Quotes follow Redis: `"..."` knows `\n \r \t \b \a \xHH` and any other escaped byte as
//! itself, `'...'` only `\'`; a closing quote must be followed by a space or the end.

use crate::args::{OwnedArgs, Span};

/// Cuts a line without quotes into words; false, with nothing added, if it has any.
pub(super) fn plain(line: &[u8], spans: &mut Vec<Span>) -> bool {
    if line.contains(&b'"') || line.contains(&b'\'') {
        return false;
    }
    let mut at = 0;
    for word in line.split(|c| is_space(*c)) {
        if !word.is_empty() {
            spans.push(Span { start: at as u32, len: word.len() as u32 });
        }
        at += word.len() + 1;
    }
    true
}

/// Takes a line with quotes apart; false if they don't balance.
pub(super) fn quoted(line: &[u8], out: &mut OwnedArgs) -> bool {
    let mut rest = line;
    loop {
        let Some(start) = rest.iter().position(|c| !is_space(*c)) else { return true };
        rest = rest.get(start..).unwrap_or_default();
        let mut word = Vec::new();
        let Some(after) = take_word(rest, &mut word) else { return false };
        out.push(&word);
        rest = after;
    }
}

fn take_word<'b>(mut rest: &'b [u8], word: &mut Vec<u8>) -> Option<&'b [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [c, ..] if is_space(*c) || *c == 0 => return Some(rest.get(1..).unwrap_or_default()),
            [quote @ (b'"' | b'\''), after @ ..] => {
                let after = take_quoted(*quote, after, word)?;
                return match after.first() {
                    Some(c) if !is_space(*c) => None,
                    _ => Some(after),
                };
            }
            [c, after @ ..] => {
                word.push(*c);
                rest = after;
            }
        }
    }
}

fn take_quoted<'b>(quote: u8, mut rest: &'b [u8], word: &mut Vec<u8>) -> Option<&'b [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [c, after @ ..] if *c == quote => return Some(after),
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), after)
            }
            [b'\\', c, after @ ..] if quote == b'"' => (escaped(*c), after),
            [b'\\', b'\'', after @ ..] if quote == b'\'' => (b'\'', after),
            [c, after @ ..] => (*c, after),
        };
        word.push(byte);
        rest = after;
    }
}

const fn escaped(c: u8) -> u8 {
    match c {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

const fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 11 | 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_as_in_redis() {
        let take = |line: &[u8]| {
            let mut out = OwnedArgs::default();
            quoted(line, &mut out)
                .then(|| out.as_args().iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let words = |words: &[&[u8]]| Some(words.iter().map(|w| w.to_vec()).collect::<Vec<_>>());
        assert_eq!(take(br#"SET "a b" 'c\'d'"#), words(&[b"SET", b"a b", b"c'd"]));
        assert_eq!(take(br#""\x41\n\q" x"#), words(&[b"A\nq", b"x"]));
        assert_eq!(take(br#""""#), words(&[b""]));
        assert_eq!(take(br#""a"b"#), None);
        assert_eq!(take(br#""a"#), None);
        assert_eq!(take(b"ECHO \x0b\"a\" \x0b"), words(&[b"ECHO", b"a"]));
    }
}
