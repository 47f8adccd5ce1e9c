//! As much of JSON as merging needs: where a leaf's text ends, numbers, the elements of a list.
//!
//! ```text
//! leaf: | JSON text | perhaps a space and an order stamp of digits and small letters |
//! ```
//!
//! Texts are never parsed into values and written again: what isn't touched stays as it is, byte
//! by byte. Beside the grammar of RFC 8259, NaN, Infinity and -Infinity are accepted, which
//! Python writes.
//! What always holds: reading any bytes ends within them, in one pass, without recursion.

use crate::limits::JSON_DEPTH_MAX;

/// The text of a leaf, and its stamp with the space before it.
pub(super) fn split(leaf: &[u8]) -> (&[u8], &[u8]) {
    let is_stamp = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    match leaf.iter().rposition(|byte| !is_stamp(byte)) {
        Some(at) if leaf.get(at) == Some(&b' ') && at + 1 < leaf.len() => leaf.split_at(at),
        _ => (leaf, &[]),
    }
}

/// Whether a text is a number as JSON writes one, and if so, whether it's a whole one.
pub(super) fn number(text: &[u8]) -> Option<bool> {
    let mut scan = Scan { bytes: text, at: 0 };
    let whole = scan.number()?;
    (scan.at == text.len()).then_some(whole)
}

/// Whether a text is one JSON value and nothing else but white space around it.
pub(super) fn is_value(text: &[u8]) -> bool {
    let mut scan = Scan { bytes: text, at: 0 };
    scan.value().is_some() && {
        scan.space();
        scan.at == text.len()
    }
}

/// The texts of a list's elements; `None` if it's no list.
pub(super) fn elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut scan = Scan { bytes: text, at: 0 };
    let mut found = Vec::new();
    scan.expect(b'[')?;
    scan.space();
    if scan.peek() == Some(b']') {
        scan.at += 1;
    } else {
        loop {
            scan.space();
            let start = scan.at;
            scan.value()?;
            found.push(text.get(start..scan.at)?);
            scan.space();
            match scan.next()? {
                b',' => {}
                b']' => break,
                _ => return None,
            }
        }
    }
    (scan.at == text.len()).then_some(found)
}

/// A number as Python writes it: the shortest digits that mean it, a point or an exponent always.
pub(super) fn float_text(number: f64) -> String {
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A place in a text.
struct Scan<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// One value with white space before it. What is open is kept as bits: 1 for a dict.
    fn value(&mut self) -> Option<()> {
        let (mut open, mut depth) = (0u128, 0usize);
        loop {
            self.space();
            let first = self.peek()?;
            if first == b'{' || first == b'[' {
                if depth == JSON_DEPTH_MAX {
                    return None;
                }
                self.at += 1;
                self.space();
                if self.peek()? == if first == b'{' { b'}' } else { b']' } {
                    self.at += 1;
                } else {
                    (open, depth) = (open << 1 | u128::from(first == b'{'), depth + 1);
                    if first == b'{' {
                        self.name()?;
                    }
                    continue;
                }
            } else {
                self.scalar(first)?;
            }
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.space();
                let in_dict = open & 1 == 1;
                match self.next()? {
                    b',' => {
                        if in_dict {
                            self.space();
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if in_dict => {}
                    b']' if !in_dict => {}
                    _ => return None,
                }
                (open, depth) = (open >> 1, depth - 1);
            }
        }
    }

    /// The name of a dict's entry and the colon after it.
    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.space();
        self.expect(b':')
    }

    fn scalar(&mut self, first: u8) -> Option<()> {
        let words: [&[u8]; 6] = [b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"];
        let rest = self.bytes.get(self.at..)?;
        if let Some(word) = words.iter().find(|word| rest.starts_with(word)) {
            self.at += word.len();
            return Some(());
        }
        if first == b'"' { self.string() } else { self.number().map(|_| ()) }
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            match self.next()? {
                b'"' => return Some(()),
                0..0x20 => return None,
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            self.next()?.is_ascii_hexdigit().then_some(())?;
                        }
                    }
                    _ => return None,
                },
                _ => {}
            }
        }
    }

    /// A number; whether it's a whole one, without point and exponent.
    fn number(&mut self) -> Option<bool> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            (self.at, whole) = (self.at + 1, false);
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            (self.at, whole) = (self.at + 1, false);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(whole)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_cut_off_and_nothing_else() {
        let cases: [(&[u8], &[u8], &[u8]); 7] = [
            (b"1 k7", b"1", b" k7"),
            (b"1", b"1", b""),
            (b"\"a b\"", b"\"a b\"", b""),
            (b"1 2 3", b"1 2", b" 3"),
            (b"1 ", b"1 ", b""),
            (b"1 K", b"1 K", b""),
            (b"", b"", b""),
        ];
        for (leaf, text, stamp) in cases {
            assert_eq!(split(leaf), (text, stamp));
        }
    }

    #[test]
    fn values_are_told_from_what_only_looks_like_them() {
        let good = [
            "1",
            "-0",
            "0.5e+3",
            "\"\\u00e9\\\"]\"",
            "[]",
            "{}",
            " [1 , {\"a\":[2,{}]} ] ",
            "null",
            "NaN",
            "-Infinity",
            "{\"a\" : {\"b\":\"}\"},\"c\":[[[]]]}",
        ];
        for text in good {
            assert!(is_value(text.as_bytes()), "{text}");
        }
        let bad = [
            "",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "[1,]",
            "[,]",
            "{\"a\"}",
            "{1:2}",
            "{\"a\":1,}",
            "[1}",
            "[1] 2",
            "nul",
            "\"\n\"",
            "[1 2]",
            "1,2",
        ];
        for text in bad {
            assert!(!is_value(text.as_bytes()), "{text}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_value(nested(JSON_DEPTH_MAX).as_bytes()));
        assert!(!is_value(nested(JSON_DEPTH_MAX + 1).as_bytes()));
    }

    #[test]
    fn elements_are_the_texts_between_the_commas_of_a_list() {
        let texts = |list: &str| -> Option<Vec<String>> {
            let found = elements(list.as_bytes())?;
            Some(found.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
        };
        assert_eq!(texts("[]"), Some(Vec::new()));
        assert_eq!(texts("[ ]"), Some(Vec::new()));
        let list = r#"["a,]\"", [1,[2,{"k":"}"}]] ,1.0]"#;
        let parts = [r#""a,]\"""#, r#"[1,[2,{"k":"}"}]]"#, "1.0"];
        assert_eq!(texts(list), Some(parts.map(str::to_owned).to_vec()));
        for no_list in ["1", "{}", "[1", "[1,]", "[1]]", "[1] ", "[[]"] {
            assert_eq!(texts(no_list), None, "{no_list}");
        }
    }

    #[test]
    fn numbers_are_known_and_written_as_python_does() {
        assert_eq!(number(b"12"), Some(true));
        assert_eq!(number(b"-1.5"), Some(false));
        assert_eq!(number(b"1e3"), Some(false));
        for text in [&b"\"1\""[..], b"1 ", b"NaN", b"", b"1x"] {
            assert_eq!(number(text), None);
        }
        let cases = [
            (2.0, "2.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-1e300, "-1e+300"),
            (-0.0, "-0.0"),
        ];
        for (number, text) in cases {
            assert_eq!(float_text(number), text);
        }
    }
}
