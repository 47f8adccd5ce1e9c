//! What an item carries that Redis has no word for, as tagged bytes.
//!
//! ```text
//! | tag (1) | length (4, low end first) | bytes | ...
//! ```
//!
//! In an RDB file it's the value of aux fields called [`AUX_NAME`] before the item's key (several
//! are read as one); in the log it's in hexadecimal on `#` lines before the record. Redis tools
//! skip both: redis-server says `Unrecognized RDB AUX field` for each at log level verbose, and
//! redis-check-rdb prints them. What they save afterwards doesn't have it any more.
//!
//! What always holds: tags that this version doesn't know stay readable by [`Extra::iter`]; one
//! below [`OPTIONAL`] that isn't known must not be dropped silently ([`Extra::unknown`]).
//! Not for: what the tags mean to a session; the engine and the node know.

use engine::limits::USER_BYTES_MAX;
use engine::{Meta, Slide, State};
use std::borrow::Cow;

/// The name of the aux field.
pub const AUX_NAME: &[u8] = b"sessile-item";

/// Tags from here on may be ignored by whoever doesn't know them.
pub const OPTIONAL: u8 = 128;

/// The tags that have a meaning.
pub mod tag {
    /// memcached's flags: 4 bytes.
    pub const FLAGS: u8 = 1;
    /// memcached's state: 1 byte.
    pub const STATE: u8 = 2;
    /// The version that a client set: 8 bytes.
    pub const CAS: u8 = 3;
    /// A field's deadline: 8 bytes of Unix milliseconds, then the field's name.
    pub const FIELD_DEADLINE: u8 = 4;
    /// In the log: the record's fields keep their own deadlines. No bytes.
    pub const KEEP_FIELD_DEADLINES: u8 = 5;
    /// The item is a hash without fields, which RDB can't hold, or one that Redis shall not see: all
    /// of it stands here. Its database stands before, as for other items. The key's bytes.
    pub const EMPTY_HASH: u8 = 6;
    /// Of [`EMPTY_HASH`] and [`SESSION_CHANGE`]: the key's deadline, 8 bytes of Unix milliseconds.
    pub const EMPTY_DEADLINE: u8 = 7;
    /// An idle timeout, of a session or another key: 8 bytes of milliseconds.
    pub const IDLE: u8 = 16;
    /// An absolute deadline, of a session or another key: 8 bytes of Unix milliseconds.
    pub const ABSOLUTE: u8 = 17;
    /// When a session was created: 8 bytes of Unix milliseconds.
    pub const CREATED: u8 = 18;
    /// A session's user.
    pub const USER: u8 = 19;
    /// What the item is to the commands of sessions, as `layout::State` numbers it: 1 byte.
    pub const SESSION: u8 = 20;
    /// When a session got its key by rotation: 8 bytes of Unix milliseconds.
    pub const ROTATED: u8 = 21;
    /// In the log: the record changes a session, or makes one, with all that stands beside it here;
    /// its deadline is under [`EMPTY_DEADLINE`]. 1 byte: whether it gets a new version.
    pub const SESSION_CHANGE: u8 = 22;
    /// A field of what a session left behind, which Redis isn't told. The length of its name (4
    /// bytes, low end first), its name, its value.
    pub const HIDDEN_FIELD: u8 = 23;
    /// The item's version when it was written: 8 bytes.
    pub const VERSION: u8 = 128;
    /// In the log, of [`SESSION_CHANGE`]: nothing was under the key before. No bytes.
    pub const FRESH: u8 = 129;
    /// Of the first record of a base made of records: the number of the increment that follows, 0 for
    /// none; 8 bytes.
    pub const BASE: u8 = 130;
    /// Of its last record: how many keys it has; 8 bytes.
    pub const BASE_END: u8 = 131;
}

/// Tagged bytes beside an item.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extra {
    bytes: Vec<u8>,
}

/// Bytes that aren't tagged bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl Extra {
    /// What of `meta` Redis has no word for: all but the deadline, and only what isn't default.
    pub fn of(meta: &Meta) -> Self {
        let mut extra = Self::default();
        if meta.flags != 0 {
            extra.push(tag::FLAGS, &meta.flags.to_le_bytes());
        }
        if meta.state != 0 {
            extra.push(tag::STATE, &[meta.state]);
        }
        if let Some(cas) = meta.cas {
            extra.push(tag::CAS, &cas.to_le_bytes());
        }
        if !meta.slide.is_empty() {
            extra.push_slide(meta);
        }
        extra
    }

    /// The same, of a session of that user; the empty name is nobody's.
    pub fn with_user(&self, user: &[u8]) -> Cow<'_, Self> {
        if user.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut extra = self.clone();
        extra.push(tag::USER, user);
        Cow::Owned(extra)
    }

    fn push_slide(&mut self, meta: &Meta) {
        let slide = meta.slide;
        let idle_ms = u64::from(slide.idle_s()) * 1000;
        let numbers = [
            (tag::IDLE, idle_ms),
            (tag::ABSOLUTE, slide.absolute().unwrap_or(0)),
            (tag::CREATED, slide.created()),
            (tag::ROTATED, meta.rotated),
        ];
        for (tag, number) in numbers.iter().filter(|(_, number)| *number != 0) {
            self.push(*tag, &number.to_le_bytes());
        }
        if slide.state() != State::Plain {
            self.push(tag::SESSION, &[slide.state() as u8]);
        }
    }

    /// Takes bytes as they were written.
    ///
    /// # Errors
    /// The bytes aren't tagged, or a known tag doesn't have as many as it must.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (tag, value, after) = split(rest).ok_or(Malformed)?;
            let right = match tag {
                tag::FLAGS => value.len() == 4,
                tag::STATE => value.len() == 1,
                tag::SESSION => matches!(value, [0..=3]),
                tag::FIELD_DEADLINE => value.len() >= 8,
                tag::KEEP_FIELD_DEADLINES => value.is_empty(),
                tag::SESSION_CHANGE => matches!(value, [0 | 1]),
                tag::HIDDEN_FIELD => hidden_field(value).is_some(),
                tag::CAS
                | tag::EMPTY_DEADLINE
                | tag::IDLE
                | tag::ABSOLUTE
                | tag::CREATED
                | tag::ROTATED
                | tag::VERSION
                | tag::BASE
                | tag::BASE_END => value.len() == 8,
                _ => true,
            };
            if !right {
                return Err(Malformed);
            }
            rest = after;
        }
        Ok(Self { bytes })
    }

    /// The bytes to be written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends one tag and its bytes.
    pub fn push(&mut self, tag: u8, value: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// Appends when a field ends.
    pub fn push_field_deadline(&mut self, name: &[u8], at: u64) {
        self.bytes.push(tag::FIELD_DEADLINE);
        self.bytes.extend_from_slice(&(name.len() as u32 + 8).to_le_bytes());
        self.bytes.extend_from_slice(&at.to_le_bytes());
        self.bytes.extend_from_slice(name);
    }

    /// All tags with their bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (tag, value, after) = split(rest)?;
            rest = after;
            Some((tag, value))
        })
    }

    /// The bytes of a tag; the last ones if it's there more than once.
    pub fn get(&self, tag: u8) -> Option<&[u8]> {
        self.iter().filter(|(found, _)| *found == tag).map(|(_, value)| value).last()
    }

    /// The number of 8 bytes under a tag.
    pub fn number(&self, tag: u8) -> Option<u64> {
        Some(u64::from_le_bytes(*self.get(tag)?.first_chunk()?))
    }

    /// The deadline of a key that stands here as a whole. The past is as good as any moment there.
    pub fn deadline(&self) -> Option<u64> {
        self.number(tag::EMPTY_DEADLINE).map(|at| at.max(1))
    }

    /// The deadlines of fields.
    pub fn field_deadlines(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.iter().filter(|(found, _)| *found == tag::FIELD_DEADLINE).filter_map(|(_, value)| {
            let (at, name) = value.split_first_chunk::<8>()?;
            Some((name, u64::from_le_bytes(*at).max(1)))
        })
    }

    /// Appends a field that Redis isn't told of.
    pub fn push_hidden_field(&mut self, name: &[u8], value: &[u8]) {
        let length = (name.len() as u32).to_le_bytes();
        self.push(tag::HIDDEN_FIELD, &[&length, name, value].concat());
    }

    /// The fields that Redis isn't told of.
    pub fn hidden_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let hidden = self.iter().filter(|(found, _)| *found == tag::HIDDEN_FIELD);
        hidden.filter_map(|(_, value)| hidden_field(value))
    }

    /// The first tag that must be understood and isn't.
    pub fn unknown(&self) -> Option<u8> {
        let known = |tag| matches!(tag, 1..=7 | 16..=23 | OPTIONAL..);
        self.iter().map(|(tag, _)| tag).find(|tag| !known(*tag))
    }

    /// What the engine keeps of this, with a deadline.
    pub fn meta(&self, deadline: Option<u64>) -> Meta {
        let flags = self.get(tag::FLAGS).and_then(|value| value.first_chunk());
        let state = self.get(tag::STATE).and_then(|value| value.first());
        Meta {
            deadline,
            flags: flags.map_or(0, |flags| u32::from_le_bytes(*flags)),
            state: state.copied().unwrap_or(0),
            cas: self.number(tag::CAS),
            slide: self.slide(),
            rotated: self.number(tag::ROTATED).unwrap_or(0),
        }
    }

    /// Whose session it is; empty if nobody's.
    pub fn user(&self) -> &[u8] {
        self.get(tag::USER).unwrap_or_default()
    }

    /// Whether this can stand beside such a value: a string is no session, only what has to do with
    /// sessions has a user or no fields.
    pub fn fits(&self, is_string: bool, is_empty: bool) -> bool {
        let plain = self.slide().state() == State::Plain;
        let user = self.user();
        let named = user.len() <= USER_BYTES_MAX && (user.is_empty() || !plain);
        named && (plain || !is_string) && (is_string || !plain || !is_empty)
    }

    fn slide(&self) -> Slide {
        let state = match self.get(tag::SESSION) {
            Some([1]) => State::Session,
            Some([2]) => State::Tombstone,
            Some([3]) => State::Alias,
            _ => State::Plain,
        };
        let idle_s = self.number(tag::IDLE).unwrap_or(0) / 1000;
        Slide::default()
            .with_state(state)
            .with_idle_s(u32::try_from(idle_s).unwrap_or(u32::MAX))
            .with_absolute(self.number(tag::ABSOLUTE).filter(|at| *at != 0))
            .with_created(self.number(tag::CREATED).unwrap_or(0))
    }
}

/// The name and the value of a hidden field.
fn hidden_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// The first tag, its bytes, and what follows.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((*tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_back() {
        let slide = Slide::default()
            .with_state(State::Session)
            .with_idle_s(1_209_600)
            .with_absolute(Some(1_900_000_000_123))
            .with_created(1_800_000_000_456);
        let (cas, rotated) = (Some(u64::MAX), 1_800_000_000_789);
        let meta = Meta { deadline: Some(9), flags: 7, state: Meta::STALE, cas, slide, rotated };
        let mut extra = Extra::of(&meta);
        extra.push(tag::USER, b"ann");
        extra.push_field_deadline(b"field", 12);
        let read = Extra::from_bytes(extra.as_bytes().to_vec()).unwrap();
        assert_eq!((read.meta(Some(9)), read.get(tag::USER)), (meta, Some(&b"ann"[..])));
        assert_eq!(read.field_deadlines().collect::<Vec<_>>(), [(&b"field"[..], 12)]);
        assert_eq!(read.unknown(), None);
        extra.push(99, b"");
        assert_eq!(extra.unknown(), Some(99));
        assert!(Extra::of(&Meta { deadline: Some(1), ..Meta::default() }).is_empty());
    }

    #[test]
    fn every_cut_is_whole_or_refused() {
        let mut extra = Extra::of(&Meta { flags: 1, cas: Some(2), ..Meta::default() });
        extra.push(tag::USER, b"ann");
        let bytes = extra.as_bytes().to_vec();
        let whole =
            (0..bytes.len()).filter(|cut| Extra::from_bytes(bytes[..*cut].to_vec()).is_ok());
        assert_eq!(whole.collect::<Vec<_>>(), [0, 9, 22]);
        assert_eq!(Extra::from_bytes(vec![tag::CAS, 1, 0, 0, 0, 9]), Err(Malformed));
    }
}
