//! The manifest: which files make up the log, as Redis 7 writes it.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.5.incr.aof seq 5 type i
//! #sessile-sum 0123456789abcdef                  the checksum of all bytes before this line
//! ```
//!
//! Redis passes over the last line, and drops it when it writes the file anew. So it does with
//! `#sessile-begins`, which stands first as long as a log has no base yet, though there may be a
//! store for it: what is beside the log is the store until then.
//! Source: Redis 7.0's documentation of multi-part logs and its own files.
//! What always holds: a manifest that is read names files in the folder itself, at most one base,
//! and increments in rising order.

use crate::checksum;
use crate::limits::{MANIFEST_LINE_MAX, MANIFEST_MAX, NAME_MAX, PARTS_MAX};
use protocol::args::Args;
use protocol::resp::{Decoder, Outcome, RespLimits, parse_u64};
use std::fmt;

const SUM: &[u8] = b"#sessile-sum ";
const BEGINS: &[u8] = b"#sessile-begins\n";

/// One file of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its name, without a folder.
    pub name: String,
    /// Its number among those of its kind.
    pub sequence: u64,
}

/// The files of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// What the increments build on.
    pub base: Option<Part>,
    /// Files that are no longer needed and may be deleted.
    pub history: Vec<Part>,
    /// Changes since the base, in order.
    pub increments: Vec<Part>,
    /// The log's first base isn't there yet: whoever loads it passes over all of it.
    pub begins: bool,
}

/// Why a manifest can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the manifest's line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first line that isn't right; a checksum that is there and wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        let mut at = 0;
        if bytes.len() > MANIFEST_MAX {
            return Err(ManifestError { line: 1, what: "it's too long" });
        }
        for (i, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let fail = |what| ManifestError { line: i + 1, what };
            let before = bytes.get(..at).unwrap_or_default();
            at += line.len();
            if line.len() > MANIFEST_LINE_MAX || !line.ends_with(b"\n") {
                return Err(fail("it's too long, or doesn't end"));
            }
            if let Some(sum) = line.strip_prefix(SUM) {
                if sum != format!("{:016x}\n", checksum::of(before)).as_bytes() {
                    return Err(fail("the checksum is wrong"));
                }
            } else if line == BEGINS {
                manifest.begins = true;
            } else if !line.starts_with(b"#") {
                manifest.line(line).map_err(fail)?;
            }
        }
        if manifest.parts().next().is_none() {
            return Err(ManifestError { line: 1, what: "it names no file" });
        }
        Ok(manifest)
    }

    /// Reads a manifest of which one byte has changed, by its checksum; `None` if that doesn't make
    /// it right.
    pub fn mend(bytes: &[u8]) -> Option<Self> {
        let (body, last) = bytes.split_at_checked(bytes.len().checked_sub(SUM.len() + 17)?)?;
        let sum = |body: &[u8]| [SUM, format!("{:016x}\n", checksum::of(body)).as_bytes()].concat();
        let mut body = body.to_vec();
        let right = sum(&body);
        if right.iter().zip(last).filter(|(is, was)| is != was).count() > 1 {
            let digits = last.strip_prefix(SUM)?.strip_suffix(b"\n")?;
            let should = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
            let flip = checksum::flip(checksum::of(&body), should, body.len() as u64)?;
            let at = body.len() - 1 - usize::try_from(flip.after).ok()?;
            *body.get_mut(at)? ^= flip.mask;
        }
        let right = sum(&body);
        Self::parse(&[body, right].concat()).ok()
    }

    /// Appends the manifest as it's written.
    pub fn render(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(if self.begins { BEGINS } else { b"" });
        let mut part = |part: &Part, kind: char| {
            out.extend_from_slice(b"file ");
            out.extend_from_slice(quoted(&part.name).as_bytes());
            out.extend_from_slice(format!(" seq {} type {kind}\n", part.sequence).as_bytes());
        };
        self.base.iter().for_each(|base| part(base, 'b'));
        self.history.iter().for_each(|old| part(old, 'h'));
        self.increments.iter().for_each(|increment| part(increment, 'i'));
        let sum = checksum::of(out.get(start..).unwrap_or_default());
        out.extend_from_slice(SUM);
        out.extend_from_slice(format!("{sum:016x}\n").as_bytes());
    }

    /// The number of the next base.
    pub fn next_base(&self) -> u64 {
        self.base.as_ref().map_or(0, |base| base.sequence) + 1
    }

    /// The number of the next increment.
    pub fn next_increment(&self) -> u64 {
        self.increments.last().map_or(0, |last| last.sequence) + 1
    }

    /// All files.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.history).chain(&self.increments)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let (mut decoder, mut spans) = (Decoder::default(), Vec::new());
        let args = match decoder.decode(line, &mut spans, &RespLimits::default()) {
            // A line with `*` in front would be another kind of request.
            Outcome::Done { .. } if !line.starts_with(b"*") => Args::new(line, &spans),
            Outcome::DoneInline { .. } => decoder.inline_args(),
            _ => return Err("it isn't made of words"),
        };
        let (mut name, mut sequence, mut kind) = (None, None, None);
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or("a word without its value")?;
            if word.eq_ignore_ascii_case(b"file") {
                name = Some(checked_name(value)?);
            } else if word.eq_ignore_ascii_case(b"seq") {
                sequence = parse_u64(value).filter(|n| *n > 0 && *n < u64::MAX);
            } else if word.eq_ignore_ascii_case(b"type") {
                kind = Some(value);
            }
        }
        let (Some(name), Some(sequence), Some(kind)) = (name, sequence, kind) else {
            return Err("file, seq or type is missing");
        };
        let part = Part { name, sequence };
        if self.parts().any(|other| other.name == part.name) {
            return Err("a file that was named before");
        }
        if self.parts().count() >= PARTS_MAX {
            return Err("too many files");
        }
        match kind {
            b"b" if self.base.is_some() => return Err("a second base"),
            b"b" => self.base = Some(part),
            b"h" => self.history.push(part),
            b"i" if self.increments.last().is_some_and(|last| last.sequence >= sequence) => {
                return Err("increments aren't in order");
            }
            b"i" => self.increments.push(part),
            _ => return Err("a file of an unknown type"),
        }
        Ok(())
    }
}

/// The manifest's name; `prefix` is the setting `appendfilename`.
pub fn manifest_name(prefix: &str) -> String {
    format!("{prefix}.manifest")
}

/// The name of a base, an RDB file.
pub fn base_name(prefix: &str, sequence: u64) -> String {
    format!("{prefix}.{sequence}.base.rdb")
}

/// The name of a base made of records.
pub fn records_base_name(prefix: &str, sequence: u64) -> String {
    format!("{prefix}.{sequence}.base.aof")
}

/// The name of an increment.
pub fn increment_name(prefix: &str, sequence: u64) -> String {
    format!("{prefix}.{sequence}.incr.aof")
}

/// A name that stays in its folder.
fn checked_name(name: &[u8]) -> Result<String, &'static str> {
    let text = str::from_utf8(name).map_err(|_| "a name that isn't text")?;
    let outside = text.contains(['/', '\\', '\0']) || matches!(text, "" | "." | "..");
    if outside || text.len() > NAME_MAX {
        return Err("a name that isn't that of a file in the folder");
    }
    Ok(text.to_owned())
}

/// A name as Redis writes it: in quotes where it isn't one plain word.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if name.bytes().all(plain) {
        return name.to_owned();
    }
    let mut out = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let part = |name: &str, sequence| Part { name: name.to_owned(), sequence };
        Manifest {
            base: Some(part(&base_name("appendonly.aof", 2), 2)),
            history: vec![part("an \"old\" \u{e9}ne.aof", 1)],
            increments: vec![part(&increment_name("a", 4), 4), part(&increment_name("a", 5), 5)],
            begins: false,
        }
    }

    fn beginning() -> Manifest {
        Manifest { base: None, history: Vec::new(), begins: true, ..sample() }
    }

    #[test]
    fn what_is_rendered_is_parsed() {
        for manifest in [sample(), beginning()] {
            let mut bytes = Vec::new();
            manifest.render(&mut bytes);
            assert_eq!(Manifest::parse(&bytes), Ok(manifest));
        }
        assert_eq!((sample().next_base(), sample().next_increment()), (3, 6));
    }

    #[test]
    fn no_flipped_byte_is_taken_for_another_manifest() {
        for manifest in [sample(), beginning()] {
            let mut bytes = Vec::new();
            manifest.render(&mut bytes);
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    bytes[at] ^= 1 << bit;
                    if let Ok(read) = Manifest::parse(&bytes) {
                        assert_eq!(read, manifest, "byte {at}, bit {bit}");
                    }
                    bytes[at] ^= 1 << bit;
                }
            }
        }
    }

    #[test]
    fn any_one_byte_is_mended() {
        let mut bytes = Vec::new();
        sample().render(&mut bytes);
        for at in 0..bytes.len() {
            for mask in [1, 0x20, 0x7f] {
                bytes[at] ^= mask;
                assert_eq!(Manifest::mend(&bytes), Some(sample()), "byte {at}, {mask}");
                bytes[at] ^= mask;
            }
        }
        bytes[3] ^= 1;
        bytes[30] ^= 1;
        assert_eq!(Manifest::mend(&bytes), None);
        assert_eq!(Manifest::mend(b""), None);
        assert_eq!(Manifest::mend(b"file a seq 1 type b\nfile b seq 2 typ"), None);
    }

    #[test]
    fn bad_manifests_are_refused() {
        for (text, what) in [
            ("", "it names no file"),
            ("# only a comment\n", "it names no file"),
            ("#sessile-begins\n", "it names no file"),
            ("file a seq 1 type i", "it's too long, or doesn't end"),
            ("file a seq 1 type\n", "a word without its value"),
            ("file a seq 1\n", "file, seq or type is missing"),
            ("file a seq 0 type i\n", "file, seq or type is missing"),
            ("file a seq 1 type x\n", "a file of an unknown type"),
            ("file ../a seq 1 type i\n", "a name that isn't that of a file in the folder"),
            ("file \"\" seq 1 type i\n", "a name that isn't that of a file in the folder"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "a second base"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", "increments aren't in order"),
            ("file a seq 1 type b\nfile a seq 2 type i\n", "a file that was named before"),
            ("*1\n", "it isn't made of words"),
            ("file \"a seq 1 type i\n", "it isn't made of words"),
        ] {
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err().what, what, "{text:?}");
        }
    }
}
