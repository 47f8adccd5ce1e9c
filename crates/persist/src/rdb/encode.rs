//! Items as bytes, wherever those go: the pieces that a file is made of.
//!
//! Shards write their items side by side, each with an encoder of its own; whoever writes the
//! file joins the pieces ([`super::Writer::append`]).
//! What always holds: a piece is whole; Redis reads it.

use super::{kind, op, packed};
use crate::extra::{AUX_NAME, Extra, tag};
use crate::limits::{EXTRA_PIECE_MAX, PACKED_FIELDS_MAX, PACKED_STRING_MAX, UNCOMPRESSED_MAX};
use crate::lzf::Compressor;
use engine::hash::{HashView, PackedHash};
use engine::{Entry, Meta, OwnedItem, OwnedValue, State};

/// A value to be written.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A string.
    String(&'a [u8]),
    /// A hash.
    Hash(HashView<'a>),
}

impl<'a> Body<'a> {
    /// The value of an item outside the arena.
    pub fn of(value: &'a OwnedValue) -> Self {
        match value {
            OwnedValue::String(bytes) => Self::String(bytes),
            OwnedValue::Packed(run) => Self::Hash(HashView::Packed(PackedHash::new(run))),
            OwnedValue::Big(big) => Self::Hash(HashView::Big(big)),
        }
    }
}

/// Writes items.
#[derive(Clone, Debug)]
pub struct Encoder {
    compress: bool,
    compressor: Compressor,
    packed: Vec<u8>,
    squeezed: Vec<u8>,
}

impl Encoder {
    /// An encoder that compresses strings where that pays, or doesn't (`rdbcompression`).
    pub fn new(compress: bool) -> Self {
        Self {
            compress,
            compressor: Compressor::default(),
            packed: Vec::new(),
            squeezed: Vec::new(),
        }
    }

    /// Appends an item of the engine, as a snapshot sees it. `extra` is what there is beside
    /// [`Entry::meta`] and a session's user.
    pub fn entry(&mut self, key: &[u8], entry: Entry<'_>, extra: &Extra, out: &mut Vec<u8>) {
        let meta = entry.meta();
        let extra = &*extra.with_user(entry.user());
        if let Some(hash) = entry.hash() {
            self.item(key, Body::Hash(hash), &meta, extra, out);
        } else if let Some(string) = entry.string() {
            self.item(key, Body::String(&string.to_cow()), &meta, extra, out);
        }
    }

    /// Appends an item outside the arena.
    pub fn owned(&mut self, key: &[u8], item: &OwnedItem, extra: &Extra, out: &mut Vec<u8>) {
        let extra = &*extra.with_user(&item.user);
        self.item(key, Body::of(&item.value), &item.meta, extra, out);
    }

    /// Appends an item. `extra` is what there is beside `meta`. A hash without fields is none,
    /// unless sessions have to do with it.
    pub fn item(
        &mut self,
        key: &[u8],
        body: Body<'_>,
        meta: &Meta,
        extra: &Extra,
        out: &mut Vec<u8>,
    ) {
        let mut beside = Extra::of(meta);
        for (tag, value) in extra.iter() {
            beside.push(tag, value);
        }
        if let Body::Hash(hash) = body {
            if hash.is_empty() && meta.slide.state() == State::Plain {
                // There is no such item; a reader would refuse it.
                return;
            }
            if hash.is_empty() || meta.slide.is_hidden() {
                for field in hash.iter(0) {
                    beside.push_hidden_field(field.name, field.value);
                }
                return self.untold_hash(key, meta.deadline, beside, out);
            }
            if hash.first_deadline().is_some() {
                for field in hash.iter(0) {
                    if let Some(at) = field.deadline {
                        beside.push_field_deadline(field.name, at);
                    }
                }
            }
        }
        self.extra(&beside, out);
        if let Some(at) = meta.deadline {
            out.push(op::EXPIRE_MS);
            out.extend_from_slice(&at.to_le_bytes());
        }
        let packs = packs(body);
        out.push(kind_of(body, packs));
        self.string(key, out);
        self.payload(body, packs, out);
    }

    /// Appends a value with its type before it, as DUMP has it.
    pub fn value(&mut self, body: Body<'_>, out: &mut Vec<u8>) {
        let packs = packs(body);
        out.push(kind_of(body, packs));
        self.payload(body, packs, out);
    }

    /// Appends a fact that readers who don't know it pass over.
    pub fn aux(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        out.push(op::AUX);
        self.string(name, out);
        self.string(value, out);
    }

    /// Appends which database the items that follow belong to.
    pub fn select(db: usize, out: &mut Vec<u8>) {
        out.push(op::SELECT);
        length(db as u64, out);
    }

    /// Appends how many keys, and keys with a deadline, the database has: a hint.
    pub fn resize(keys: u64, deadlines: u64, out: &mut Vec<u8>) {
        out.push(op::RESIZE);
        length(keys, out);
        length(deadlines, out);
    }

    /// Appends a string: as an integer if it's the text of a small one, compressed if that pays.
    pub fn string(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Some(n) = small_integer(bytes) {
            return integer(n, out);
        }
        if self.compress && bytes.len() > UNCOMPRESSED_MAX {
            self.squeezed.clear();
            if self.compressor.compress(bytes, &mut self.squeezed) {
                out.push(0xc3);
                length(self.squeezed.len() as u64, out);
                length(bytes.len() as u64, out);
                return out.extend_from_slice(&self.squeezed);
            }
        }
        length(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }

    fn payload(&mut self, body: Body<'_>, packs: bool, out: &mut Vec<u8>) {
        let hash = match body {
            Body::String(bytes) => return self.string(bytes, out),
            Body::Hash(hash) => hash,
        };
        if packs {
            let mut packed = std::mem::take(&mut self.packed);
            packed::listpack(hash.iter(0).flat_map(|f| [f.name, f.value]), &mut packed);
            self.string(&packed, out);
            self.packed = packed;
            return;
        }
        length(hash.live_len(0) as u64, out);
        for field in hash.iter(0) {
            self.string(field.name, out);
            self.string(field.value, out);
        }
    }

    /// A hash that Redis isn't told of, be it that it can't have one without fields: all of it
    /// stands in aux fields.
    fn untold_hash(&mut self, key: &[u8], at: Option<u64>, mut beside: Extra, out: &mut Vec<u8>) {
        if let Some(at) = at {
            beside.push(tag::EMPTY_DEADLINE, &at.to_le_bytes());
        }
        beside.push(tag::EMPTY_HASH, key);
        self.extra(&beside, out);
    }

    /// Appends what stands beside an item, in pieces; one that isn't full is the last.
    fn extra(&mut self, extra: &Extra, out: &mut Vec<u8>) {
        if extra.is_empty() {
            return;
        }
        for piece in extra.as_bytes().chunks(EXTRA_PIECE_MAX) {
            self.aux(AUX_NAME, piece, out);
        }
        if extra.as_bytes().len().is_multiple_of(EXTRA_PIECE_MAX) {
            self.aux(AUX_NAME, b"", out);
        }
    }
}

/// Whether a value is a hash that Redis would keep packed, too.
fn packs(body: Body<'_>) -> bool {
    let Body::Hash(hash) = body else { return false };
    let short = |bytes: &[u8]| bytes.len() <= PACKED_STRING_MAX;
    hash.len() <= PACKED_FIELDS_MAX && hash.iter(0).all(|f| short(f.name) && short(f.value))
}

const fn kind_of(body: Body<'_>, packs: bool) -> u8 {
    match body {
        Body::String(_) => kind::STRING,
        Body::Hash(_) if packs => kind::HASH_LISTPACK,
        Body::Hash(_) => kind::HASH,
    }
}

/// Appends a length.
pub fn length(n: u64, out: &mut Vec<u8>) {
    if n < 1 << 6 {
        out.push(n as u8);
    } else if n < 1 << 14 {
        out.extend_from_slice(&(n as u16 | 0x4000).to_be_bytes());
    } else if let Ok(short) = u32::try_from(n) {
        out.push(0x80);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

/// The integer of 32 bits whose only text this is.
fn small_integer(bytes: &[u8]) -> Option<i32> {
    if bytes.len() > 11 || !matches!(bytes.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    let n: i32 = str::from_utf8(bytes).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(n).as_bytes() == bytes).then_some(n)
}

fn integer(n: i32, out: &mut Vec<u8>) {
    if let Ok(n) = i8::try_from(n) {
        out.push(0xc0);
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xc1);
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        out.push(0xc2);
        out.extend_from_slice(&n.to_le_bytes());
    }
}
