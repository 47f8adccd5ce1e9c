//! Glob patterns, as KEYS, the SCANs and CONFIG GET take them.
//!
//! `*` any bytes, `?` any byte, `[ab]` `[a-z]` `[^a]` a byte of (or not of) a class, `\x` the byte
//! x itself. A class that isn't closed ends with the pattern.
//! What always holds: no recursion; a match looks at no more than [`GLOB_STEPS_MAX`] bytes of
//! pattern, and a text that would take more doesn't fit.

use crate::limits::GLOB_STEPS_MAX;

/// Whether `pattern` fits the whole of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut budget = GLOB_STEPS_MAX;
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
        let (fits, rest) = step(pattern, *byte);
        let Some(left) = budget.checked_sub(pattern.len() - rest.len() + 1) else { return false };
        budget = left;
        if fits {
            (pattern, text) = (rest, after);
            continue;
        }
        let Some((rest, [_, shorter @ ..])) = star else { return false };
        star = Some((rest, shorter));
        (pattern, text) = (rest, shorter);
    }
}

/// Whether the pattern's first element, which isn't a star, fits `byte`; and the pattern after it.
fn step(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [] => (false, &[]),
        [b'?', rest @ ..] => (true, rest),
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
    }
}

/// Whether a class, whose bracket is already read, has `byte`; and the pattern after it.
fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
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
    (found != negated, rest)
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

    /// Redis' rules once more, by recursion: whether some way to share out the text fits.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            ([], _) => text.is_empty(),
            (_, []) => false,
            ([b'?', rest @ ..], [_, tail @ ..]) => naive(rest, tail),
            ([b'[', rest @ ..], [byte, tail @ ..]) => {
                let negated = rest.first() == Some(&b'^');
                let mut at = usize::from(negated);
                let mut set = Vec::new();
                while at < rest.len() && rest[at] != b']' {
                    if rest[at] == b'\\' && at + 1 < rest.len() {
                        set.push(rest[at + 1]);
                        at += 2;
                    } else if at + 2 < rest.len() && rest[at + 1] == b'-' {
                        let (a, b) = (rest[at], rest[at + 2]);
                        set.extend(a.min(b)..=a.max(b));
                        at += 3;
                    } else {
                        set.push(rest[at]);
                        at += 1;
                    }
                }
                let after = rest.get(at + 1..).unwrap_or_default();
                set.contains(byte) != negated && naive(after, tail)
            }
            ([b'\\', literal, rest @ ..] | [literal, rest @ ..], [byte, tail @ ..]) => {
                literal == byte && naive(rest, tail)
            }
        }
    }

    #[test]
    fn random_patterns_fit_what_the_naive_matcher_says() {
        let seed = std::process::id().into();
        println!("SEED={seed}");
        let mut rng = engine::Rng::new(seed);
        let mut word = |alphabet: &[u8], longest: u64| {
            let len = rng.below(longest + 1);
            let byte = |_| alphabet[rng.below(alphabet.len() as u64) as usize];
            (0..len).map(byte).collect::<Vec<u8>>()
        };
        let mut hits = 0;
        for _ in 0..200_000 {
            let (pattern, text) = (word(b"ab*?[]^-\\c", 8), word(b"abc]-", 6));
            let expected = naive(&pattern, &text);
            assert_eq!(matches(&pattern, &text), expected, "{pattern:?} {text:?}");
            hits += u32::from(expected);
        }
        assert!(hits > 1000, "{hits}");
    }

    #[test]
    fn a_pattern_that_takes_too_long_fits_nothing() {
        let pattern = [b"*[".as_slice(), &[b'a'; 100_000], b"]x"].concat();
        assert!(!matches(&pattern, &[b'a'; 30_000]));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
