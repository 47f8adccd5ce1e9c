//! Small collections as one string: listpacks, and the ziplists and zipmaps of older files.
//!
//! ```text
//! listpack   total (4) | entries (2) | entry, its length backwards | ... | FF
//! ziplist    total (4) | tail (4) | entries (2) | length of the one before, entry | ... | FF
//! zipmap     count | length, name | length, unused, value, unused bytes | ... | FF
//! ```
//!
//! Facts: the listpack specification (github.com/antirez/listpack), and the comments at the head of
//! ziplist.c and zipmap.c in Redis 7.0.
//! What always holds: a string that isn't exactly such a collection is refused.

/// An entry: its bytes, or an integer whose text stands for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry<'a> {
    /// A string.
    Bytes(&'a [u8]),
    /// An integer.
    Integer(i64),
}

impl Entry<'_> {
    /// The text of the entry.
    pub fn to_vec(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Integer(n) => itoa::Buffer::new().format(n).as_bytes().to_vec(),
        }
    }
}

/// Makes `out` a listpack of these strings; short integers take their short form.
pub fn listpack<'a>(strings: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; 6]);
    let mut count = 0_u16;
    for text in strings {
        let start = out.len();
        write_entry(text, out);
        backwards(out.len() - start, out);
        count = count.saturating_add(1);
    }
    out.push(0xff);
    let total = (out.len() as u32).to_le_bytes();
    for (place, byte) in out.iter_mut().zip(total.into_iter().chain(count.to_le_bytes())) {
        *place = byte;
    }
}

fn write_entry(text: &[u8], out: &mut Vec<u8>) {
    let integer = str::from_utf8(text).ok().filter(|text| text.len() < 6);
    let integer = integer.and_then(|text| text.parse::<i16>().ok());
    let plain = integer.filter(|n| itoa::Buffer::new().format(*n).as_bytes() == text);
    match plain {
        Some(n @ 0..128) => out.push(n as u8),
        Some(n @ -4096..4096) => {
            let bits = n as u16 & 0x1fff;
            out.extend_from_slice(&(0xc000 | bits).to_be_bytes());
        }
        _ if text.len() < 64 => {
            out.push(0x80 | text.len() as u8);
            out.extend_from_slice(text);
        }
        _ if text.len() < 4096 => {
            out.extend_from_slice(&(0xe000 | text.len() as u16).to_be_bytes());
            out.extend_from_slice(text);
        }
        _ => {
            out.push(0xf0);
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
}

/// The length of an entry, seven bits to a byte, to be read from the back.
fn backwards(length: usize, out: &mut Vec<u8>) {
    // Redis' own thresholds: just below a power of two one byte more is used than needed.
    let groups = match length {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for group in (0..groups).rev() {
        let bits = (length >> (7 * group)) as u8 & 0x7f;
        // The byte that comes first from the front is the last one from the back.
        out.push(if group + 1 == groups { bits } else { bits | 0x80 });
    }
}

/// Shows the entries of a listpack; `None` if it isn't one.
pub fn each_in_listpack<'a>(bytes: &'a [u8], see: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
    let (total, rest) = bytes.split_first_chunk::<4>()?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    if u32::from_le_bytes(*total) as usize != bytes.len() {
        return None;
    }
    let mut seen = 0_usize;
    loop {
        if rest == [0xff] {
            let count = u16::from_le_bytes(*count);
            return (count == u16::MAX || usize::from(count) == seen).then_some(());
        }
        let (entry, after) = listpack_entry(rest)?;
        let length = rest.len() - after.len();
        let mut back = Vec::new();
        backwards(length, &mut back);
        rest = after.strip_prefix(back.as_slice())?;
        see(entry);
        seen += 1;
    }
}

fn listpack_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    match head {
        0..0x80 => Some((Entry::Integer(i64::from(head)), rest)),
        0x80..0xc0 => string(usize::from(head & 0x3f), rest),
        0xc0..0xe0 => {
            let (&low, rest) = rest.split_first()?;
            let bits = i64::from(u16::from(head & 0x1f) << 8 | u16::from(low));
            Some((Entry::Integer(if bits < 1 << 12 { bits } else { bits - (1 << 13) }), rest))
        }
        0xe0..0xf0 => {
            let (&low, rest) = rest.split_first()?;
            string(usize::from(u16::from(head & 0xf) << 8 | u16::from(low)), rest)
        }
        0xf0 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            string(u32::from_le_bytes(*length) as usize, rest)
        }
        0xf1 => integer(rest, 2),
        0xf2 => integer(rest, 3),
        0xf3 => integer(rest, 4),
        0xf4 => integer(rest, 8),
        _ => None,
    }
}

fn string(length: usize, rest: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (string, rest) = rest.split_at_checked(length)?;
    Some((Entry::Bytes(string), rest))
}

/// A signed integer of so many bytes, the low end first.
fn integer(bytes: &[u8], width: usize) -> Option<(Entry<'_>, &[u8])> {
    let (number, rest) = bytes.split_at_checked(width)?;
    let mut all = [0; 8];
    for (place, byte) in all.iter_mut().zip(number) {
        *place = *byte;
    }
    let shift = 64 - 8 * width as u32;
    Some((Entry::Integer(i64::from_le_bytes(all) << shift >> shift), rest))
}

/// Shows the entries of a ziplist; `None` if it isn't one.
pub fn each_in_ziplist<'a>(bytes: &'a [u8], see: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
    let (total, rest) = bytes.split_first_chunk::<4>()?;
    let (tail, rest) = rest.split_first_chunk::<4>()?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    if u32::from_le_bytes(*total) as usize != bytes.len() {
        return None;
    }
    let (mut seen, mut before, mut last) = (0_usize, 0_usize, 10_usize);
    loop {
        let start = bytes.len() - rest.len();
        if rest == [0xff] {
            let count = u16::from_le_bytes(*count);
            let right = (count == u16::MAX || usize::from(count) == seen)
                && u32::from_le_bytes(*tail) as usize == last;
            return right.then_some(());
        }
        let (&short, after) = rest.split_first()?;
        let (length, after) = if short < 254 {
            (usize::from(short), after)
        } else {
            let (long, after) = after.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*long) as usize, after)
        };
        if short == 0xff || length != before {
            return None;
        }
        let (entry, after) = ziplist_entry(after)?;
        (before, last) = (rest.len() - after.len(), start);
        rest = after;
        see(entry);
        seen += 1;
    }
}

fn ziplist_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    match head {
        0..0x40 => string(usize::from(head), rest),
        0x40..0x80 => {
            let (&low, rest) = rest.split_first()?;
            string(usize::from(u16::from(head & 0x3f) << 8 | u16::from(low)), rest)
        }
        0x80 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            string(u32::from_be_bytes(*length) as usize, rest)
        }
        0xc0 => integer(rest, 2),
        0xd0 => integer(rest, 4),
        0xe0 => integer(rest, 8),
        0xf0 => integer(rest, 3),
        0xfe => integer(rest, 1),
        0xf1..=0xfd => Some((Entry::Integer(i64::from(head & 0xf) - 1), rest)),
        _ => None,
    }
}

/// Shows names and values of a zipmap in turn; `None` if it isn't one.
pub fn each_in_zipmap<'a>(bytes: &'a [u8], see: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
    let (&count, mut rest) = bytes.split_first()?;
    let mut pairs = 0_usize;
    while rest != [0xff] {
        let (name, after) = zipmap_string(rest, false)?;
        let (value, after) = zipmap_string(after, true)?;
        see(Entry::Bytes(name));
        see(Entry::Bytes(value));
        rest = after;
        pairs += 1;
    }
    // From 254 on the count isn't kept.
    (count >= 254 || usize::from(count) == pairs).then_some(())
}

fn zipmap_string(bytes: &[u8], value: bool) -> Option<(&[u8], &[u8])> {
    let (&short, mut rest) = bytes.split_first()?;
    let mut length = usize::from(short);
    match short {
        254 => {
            let (long, after) = rest.split_first_chunk::<4>()?;
            (length, rest) = (u32::from_le_bytes(*long) as usize, after);
        }
        255 => return None,
        _ => {}
    }
    let mut unused = 0;
    if value {
        let (&free, after) = rest.split_first()?;
        (unused, rest) = (usize::from(free), after);
    }
    let (text, rest) = rest.split_at_checked(length)?;
    Some((text, rest.get(unused..)?))
}
