//! Patterns of names, as CONFIG GET takes them: `*`, `?`, `[a-z]`, `[^a]`, `\x`, in any case.
//!
//! Iterative: a pattern costs at most its length times the name's.

/// Whether `name` fits `pattern`.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // Where to go on if what follows the last star doesn't fit.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = pattern {
            pattern = after;
            star = Some((pattern, name));
            continue;
        }
        let Some((letter, rest)) = name.split_first() else { return pattern.is_empty() };
        if let Some(after) = one(pattern, *letter) {
            (pattern, name) = (after, rest);
            continue;
        }
        let Some((after, from)) = star else { return false };
        let Some((_, shorter)) = from.split_first() else { return false };
        star = Some((after, shorter));
        (pattern, name) = (after, shorter);
    }
}

/// The pattern after its first element, if that takes `letter`.
fn one(pattern: &[u8], letter: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'\\', plain, after @ ..] => (*plain == letter).then_some(after),
        [b'[', set @ ..] => class(set, letter),
        [plain, after @ ..] => (*plain == letter).then_some(after),
    }
}

fn class(set: &[u8], letter: u8) -> Option<&[u8]> {
    let (negated, mut set) = match set {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    loop {
        match set {
            [] => return (found != negated).then_some(set),
            [b']', after @ ..] => return (found != negated).then_some(after),
            [b'\\', plain, rest @ ..] => {
                found |= *plain == letter;
                set = rest;
            }
            [low, b'-', high, rest @ ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&letter);
                set = rest;
            }
            [plain, rest @ ..] => {
                found |= *plain == letter;
                set = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        let cases = [
            ("*", "port", true),
            ("", "", true),
            ("", "a", false),
            ("PORT", "port", true),
            ("max*", "maxmemory", true),
            ("max*y", "maxmemory-policy", true),
            ("max*y", "maxmemory-samples", false),
            ("*-*-*", "hash-max-listpack-value", true),
            ("p?rt", "port", true),
            ("p[a-o]rt", "port", true),
            ("p[^a-o]rt", "port", false),
            ("p\\ort", "port", true),
            ("*a*b*c", "aabbcc", true),
            ("*a*b*c", "aabbc-", false),
            ("[", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
