//! The grammar of redis.conf: bytes in, directives out, and back.
//!
//! A line is words apart by blanks; `#` at its start makes it a comment. `"..."` takes the escapes
//! `\n \r \t \a \b \xHH \" \\`, `'...'` takes `\'` alone; after a closing quote comes a blank or the
//! end. Pure: reads no file and knows no directive (`include` is a directive like any other).

use std::fmt::{self, Write};

/// One line that is not blank and not a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The line's number, from 1.
    pub line: usize,
    /// The first word, in lower case.
    pub name: String,
    /// The other words, unquoted.
    pub words: Vec<String>,
}

/// Why a line can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for GrammarError {}

/// Reads a whole file.
pub fn parse_file(bytes: &[u8]) -> Result<Vec<Directive>, GrammarError> {
    let mut directives = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let at = index + 1;
        let words = parse_line(line).map_err(|reason| GrammarError { line: at, reason })?;
        let mut words = words.into_iter();
        if let Some(name) = words.next() {
            let name = name.to_ascii_lowercase();
            directives.push(Directive { line: at, name, words: words.collect() });
        }
    }
    Ok(directives)
}

/// The words of one line; none for a blank line or a comment.
pub fn parse_line(line: &[u8]) -> Result<Vec<String>, &'static str> {
    let mut rest = line.trim_ascii();
    let mut words = Vec::new();
    if rest.first() == Some(&b'#') {
        return Ok(words);
    }
    while !rest.is_empty() {
        let (word, after) = match rest.split_first() {
            Some((b'"', inside)) => double_quoted(inside)?,
            Some((b'\'', inside)) => single_quoted(inside)?,
            _ => bare(rest)?,
        };
        words.push(String::from_utf8(word).map_err(|_| "not valid UTF-8")?);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// Writes directives so that [`parse_file`] reads the same names and words.
pub fn print(directives: &[Directive]) -> String {
    let mut text = String::new();
    for directive in directives {
        text.push_str(&print_line(&directive.name, directive.words.iter().map(String::as_str)));
    }
    text
}

/// Writes one directive as a line, its end included.
pub fn print_line<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    quote(name, &mut text);
    for word in words {
        text.push(' ');
        quote(word, &mut text);
    }
    text.push('\n');
    text
}

/// For fuzzing: whatever the bytes are, reading them does not panic, and what they say survives
/// being printed and read again.
pub fn check(bytes: &[u8]) {
    if let Ok(first) = parse_file(bytes) {
        let second = parse_file(print(&first).as_bytes());
        let strip = |all: Vec<Directive>| -> Vec<_> {
            all.into_iter().map(|one| (one.name, one.words)).collect()
        };
        assert_eq!(second.map(strip), Ok(strip(first)));
    }
}

type Word<'a> = (Vec<u8>, &'a [u8]);

fn bare(text: &[u8]) -> Result<Word<'_>, &'static str> {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    if word.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        return Err("unbalanced quotes");
    }
    Ok((word.to_vec(), after))
}

fn single_quoted(mut text: &[u8]) -> Result<Word<'_>, &'static str> {
    let mut word = Vec::new();
    loop {
        match text {
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                text = after;
            }
            [b'\'', after @ ..] => return closed(word, after),
            [byte, after @ ..] => {
                word.push(*byte);
                text = after;
            }
            [] => return Err("unbalanced quotes"),
        }
    }
}

fn double_quoted(mut text: &[u8]) -> Result<Word<'_>, &'static str> {
    let mut word = Vec::new();
    loop {
        match text {
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(digit(*high) << 4 | digit(*low));
                text = after;
            }
            [b'\\', letter, after @ ..] => {
                word.push(match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                text = after;
            }
            [b'"', after @ ..] => return closed(word, after),
            [byte, after @ ..] => {
                word.push(*byte);
                text = after;
            }
            [] => return Err("unbalanced quotes"),
        }
    }
}

fn closed(word: Vec<u8>, after: &[u8]) -> Result<Word<'_>, &'static str> {
    match after.first() {
        None => Ok((word, after)),
        Some(byte) if byte.is_ascii_whitespace() => Ok((word, after)),
        Some(_) => Err("unbalanced quotes"),
    }
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

fn quote(word: &str, text: &mut String) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#');
    if !word.is_empty() && word.bytes().all(plain) {
        text.push_str(word);
        return;
    }
    text.push('"');
    for letter in word.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control.is_ascii_control() => {
                // Writing to a string can't fail.
                let _ = write!(text, "\\x{:02x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let cases: &[(&str, Result<&[&str], &str>)] = &[
            ("", Ok(&[])),
            ("   # port 1", Ok(&[])),
            ("port 6379", Ok(&["port", "6379"])),
            ("\tport\t 6379 \r", Ok(&["port", "6379"])),
            ("save \"\"", Ok(&["save", ""])),
            ("save ''", Ok(&["save", ""])),
            (r#"a "b c\n\x41\"" 'd\'e\n'"#, Ok(&["a", "b c\nA\"", "d'e\\n"])),
            (r#"a "\xzz""#, Ok(&["a", "xzz"])),
            ("a \"b", Err("unbalanced quotes")),
            ("a 'b", Err("unbalanced quotes")),
            ("a \"b\"c", Err("unbalanced quotes")),
            ("a b\"c\"", Err("unbalanced quotes")),
            (r#"a "\xff""#, Err("not valid UTF-8")),
            ("requirepass p#ss", Ok(&["requirepass", "p#ss"])),
        ];
        for (line, expected) in cases {
            let words = parse_line(line.as_bytes());
            let words = words.as_ref().map(|words| words.iter().map(String::as_str).collect());
            assert_eq!(words.map_err(|error| *error), expected.map(<[&str]>::to_vec), "{line}");
        }
    }

    #[test]
    fn files_say_which_line_is_wrong() {
        let error = parse_file(b"port 1\n\n# c\nbind \"x\n").unwrap_err();
        assert_eq!(error.line, 4);
        let ok = parse_file(b"PORT 1\n# c\nbind a b").unwrap();
        assert_eq!((ok[0].line, ok[0].name.as_str()), (1, "port"));
        assert_eq!((ok[1].line, ok[1].words.len()), (3, 2));
    }

    #[test]
    fn what_is_printed_reads_the_same() {
        let corpus: &[&[u8]] = &[
            b"a \"\\x00\\x01\\n\" ''\nB c",
            b"\"\" x",
            b"'#a' b",
            "name \"\u{fc}\u{2028}\"".as_bytes(),
            b"a \\",
            b"\x0b \x0c a\x0b",
            b"\xff\n\"",
        ];
        for bytes in corpus {
            check(bytes);
        }
        // Every short string over the letters that mean something.
        let letters = b"\"'\\ x4#\n";
        for number in 0..letters.len().pow(5) {
            let mut rest = number;
            let text: Vec<u8> = std::iter::repeat_with(|| {
                let letter = letters[rest % letters.len()];
                rest /= letters.len();
                letter
            })
            .take(5)
            .collect();
            check(&text);
        }
    }
}
