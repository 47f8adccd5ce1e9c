//! A session as a web app stores it: who is signed in, a token, preferences, a basket.
//!
//! What always holds: every document is fresh random text, so a server that compresses or shares
//! values gets what a real store would give it; the fields and the single JSON value hold the same.
//! Not for: being read back. The generator looks at the kind of a reply, never at its content.

use crate::random::Random;

/// The field that a "change" writes: the time of the last visit.
pub const CHANGED: &[u8] = b"last_seen";

const HEX: &[u8; 16] = b"0123456789abcdef";
const ITEM_BYTES: usize = 44;

/// One document: named fields over one buffer that is used again.
#[derive(Debug, Default)]
pub struct Document {
    text: Vec<u8>,
    fields: Vec<(&'static [u8], usize, usize)>,
}

impl Document {
    /// Fills it with a session of about `bytes` bytes as JSON (150 at least).
    pub fn fill(&mut self, bytes: usize, random: &mut Random) {
        self.text.clear();
        self.fields.clear();
        let user = 1_000_000 + random.below(9_000_000);
        self.field(b"_auth_user_id", |out, _| number(out, user), random);
        self.field(b"_auth_user_hash", |out, random| hex(out, 40, random), random);
        self.field(b"csrf", |out, random| hex(out, 32, random), random);
        self.field(
            b"lang",
            |out, random| choose(out, &[b"en-us", b"de", b"fr", b"ja"], random),
            random,
        );
        self.field(CHANGED, moment, random);
        let rest = bytes.saturating_sub(self.json_len() + 12);
        self.field(b"cart", |out, random| basket(out, rest, random), random);
    }

    /// Fills it with the one field that a change writes.
    pub fn fill_change(&mut self, random: &mut Random) {
        self.text.clear();
        self.fields.clear();
        self.field(CHANGED, moment, random);
    }

    /// Name and value of each field.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&'static [u8], &[u8])> {
        self.fields.iter().map(|&(name, from, to)| (name, self.text.get(from..to).unwrap_or(&[])))
    }

    /// Length of the whole as one JSON object.
    pub fn json_len(&self) -> usize {
        // Quotes around the name, a colon, a comma or brace; quotes around all values but baskets.
        let field = |(name, value): (&[u8], &[u8])| {
            name.len() + value.len() + 4 + if is_text(value) { 2 } else { 0 }
        };
        1 + self.fields().map(field).sum::<usize>()
    }

    /// Appends the whole as one JSON object.
    pub fn json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, value)) in self.fields().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name);
            out.extend_from_slice(b"\":");
            if is_text(value) {
                out.push(b'"');
                out.extend_from_slice(value);
                out.push(b'"');
            } else {
                out.extend_from_slice(value);
            }
        }
        out.push(b'}');
    }

    fn field(
        &mut self,
        name: &'static [u8],
        write: impl FnOnce(&mut Vec<u8>, &mut Random),
        random: &mut Random,
    ) {
        let from = self.text.len();
        write(&mut self.text, random);
        self.fields.push((name, from, self.text.len()));
    }
}

fn is_text(value: &[u8]) -> bool {
    value.first() != Some(&b'[')
}

fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

fn hex(out: &mut Vec<u8>, digits: usize, random: &mut Random) {
    let end = out.len() + digits;
    while out.len() < end {
        let mut bits = random.bits();
        for _ in 0..16.min(end - out.len()) {
            out.push(HEX.get((bits & 15) as usize).copied().unwrap_or(b'0'));
            bits >>= 4;
        }
    }
}

fn choose(out: &mut Vec<u8>, from: &[&[u8]], random: &mut Random) {
    let at = random.below(from.len() as u64) as usize;
    out.extend_from_slice(from.get(at).copied().unwrap_or_default());
}

fn two(out: &mut Vec<u8>, n: u64) {
    out.push(b'0' + (n / 10 % 10) as u8);
    out.push(b'0' + (n % 10) as u8);
}

/// A time of November 2026, always 26 bytes.
fn moment(out: &mut Vec<u8>, random: &mut Random) {
    out.extend_from_slice(b"2026-11-");
    two(out, 10 + random.below(20));
    out.push(b'T');
    two(out, random.below(24));
    for _ in 0..2 {
        out.push(b':');
        two(out, random.below(60));
    }
    out.push(b'.');
    for _ in 0..3 {
        two(out, random.below(100));
    }
}

/// A list of articles of about `bytes` bytes.
fn basket(out: &mut Vec<u8>, bytes: usize, random: &mut Random) {
    let end = out.len() + bytes;
    out.push(b'[');
    let mut first = true;
    while out.len() + ITEM_BYTES <= end {
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(b"{\"sku\":\"");
        hex(out, 8, random);
        out.extend_from_slice(b"\",\"qty\":");
        number(out, 1 + random.below(9));
        out.extend_from_slice(b",\"price\":");
        number(out, 100 + random.below(900));
        out.extend_from_slice(b".5}");
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_json_of_the_size_asked_for() {
        let mut random = Random::new(3);
        let mut document = Document::default();
        for bytes in [200usize, 461, 2048, 16 << 10] {
            document.fill(bytes, &mut random);
            let mut json = Vec::new();
            document.json(&mut json);
            assert_eq!(json.len(), document.json_len());
            assert!(json.len().abs_diff(bytes) <= ITEM_BYTES + 16, "{} for {bytes}", json.len());
            let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(parsed.as_object().unwrap().len(), 6);
            assert!(parsed["cart"].is_array());
        }
    }

    #[test]
    fn documents_differ() {
        let mut random = Random::new(3);
        let mut json = [Vec::new(), Vec::new()];
        for out in &mut json {
            let mut document = Document::default();
            document.fill(400, &mut random);
            document.json(out);
        }
        assert_ne!(json[0], json[1]);
    }

    #[test]
    fn a_change_is_one_field() {
        let mut document = Document::default();
        document.fill_change(&mut Random::new(1));
        let fields: Vec<_> = document.fields().collect();
        assert_eq!(fields.len(), 1);
        assert_eq!(fields[0].0, CHANGED);
        assert_eq!(fields[0].1.len(), 26);
    }
}
