//! Glob patterns, as KEYS, the SCANs and CONFIG GET take them.
//!
//! `*` any bytes, `?` any byte, `[ab]` `[a-z]` `[^a]` a byte of (or not of) a class, `\x` the byte
//! x itself. A class that isn't closed ends with the pattern.
//! What always holds: a match takes at most as many steps as pattern and text multiplied, whatever
//! the pattern.

/// Whether `pattern` fits the whole of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The pattern after the last star, and the text that it was tried on. Only the last star has
    // to be tried again: what an earlier one could take more, the last one can take as well.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            if rest.is_empty() {
                return true;
            }
            star = Some((rest, text));
            pattern = rest;
            continue;
        }
        let Some((byte, after)) = text.split_first() else { return pattern.is_empty() };
        if let Some(rest) = step(pattern, *byte) {
            (pattern, text) = (rest, after);
            continue;
        }
        let Some((rest, [_, shorter @ ..])) = star else { return false };
        star = Some((rest, shorter));
        (pattern, text) = (rest, shorter);
    }
}

/// The rest of the pattern, if its first element, which isn't a star, fits `byte`.
fn step(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// The rest of the pattern after a class, whose bracket is already read, if it has `byte`.
fn class(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        let (first, last, after) = match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', literal, after @ ..] => (*literal, *literal, after),
            [first, b'-', last, after @ ..] => (*first.min(last), *first.max(last), after),
            [literal, after @ ..] => (*literal, *literal, after),
        };
        found |= (first..=last).contains(&byte);
        rest = after;
    }
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_what_redis_says_they_fit() {
        let cases: [(&str, &str, bool); 26] = [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*", "a", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab-ab-a", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("[\\]]", "]", true),
            ("[a\\-z]", "-", true),
            ("[a\\-z]", "b", false),
            ("[ab", "b", true),
            ("[]", "]", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("a**b", "ab", true),
            ("user:*:cart", "user:7:cart", true),
            ("user:*:cart", "user:7:carts", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
