//! Rules of storing under conditions, as memcached has them: modes, compare-and-swap, stale items,
//! counters that keep their width, touch.
//!
//! What always holds: every function looks at one key whose shard is locked, decides, and applies
//! at most one effect, last; so a call that finds no memory can be repeated as a whole.
//! Touching never changes a CAS value; every other change does.
//! A key that isn't a string is a miss to readers, occupied to `add`, replaced by `set`, removed
//! by `delete`, and refused by whatever would change its value.
//! Not for: words of the protocols, counters of the server, limits on sizes.

#[cfg(test)]
mod tests;

pub use protocol::memcached::Mode;

use engine::{Applied, Cause, Change, Effect, Entry, Full, Key, Kind, Meta, Shard};

/// The database that memcached's commands are about.
pub const DATABASE: usize = 0;

/// The longest time in seconds that counts from now; a larger number is Unix time.
const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;
/// The first number that is Unix time.
const ABSOLUTE_MIN: i64 = RELATIVE_MAX + 1;
/// The last moment in seconds of Unix time that memcached can tell from one before 1970.
const ABSOLUTE_MAX: i64 = i32::MAX as i64;

/// A key under its shard's lock.
#[derive(Debug)]
pub struct Place<'a> {
    /// The key's shard.
    pub shard: &'a mut Shard,
    /// The key.
    pub key: Key<'a>,
    /// Unix time in milliseconds.
    pub now: u64,
}

impl Place<'_> {
    /// The key's item if it's a string, without a trace of having looked.
    #[inline]
    pub fn peek(&self) -> Option<Entry<'_>> {
        self.any().filter(|entry| entry.kind() == Kind::String)
    }

    /// The key's item if it's a string, which counts as a use.
    #[inline]
    pub fn get(&mut self) -> Option<Entry<'_>> {
        let entry = self.shard.get(DATABASE, &self.key, self.now);
        entry.filter(|entry| entry.kind() == Kind::String)
    }

    /// The key's item of whatever kind, without a trace of having looked.
    #[inline]
    pub fn any(&self) -> Option<Entry<'_>> {
        self.shard.peek(DATABASE, &self.key, self.now)
    }

    fn apply(&mut self, change: Change<'_>) -> Result<Applied, Full> {
        self.shard.apply(&Effect::Key { db: DATABASE, key: self.key, change }, self.now)
    }

    /// Stores a string and answers its CAS value.
    fn put(&mut self, value: &[u8], meta: Meta) -> Result<u64, Full> {
        let applied = self.apply(Change::Put { value, meta })?;
        Ok(meta.cas.unwrap_or(applied.version))
    }
}

/// The moment in Unix milliseconds that memcached's `exptime` stands for: 0 is never, up to
/// thirty days counts from now in seconds, more is Unix time in seconds, less than 0 is over. So
/// is what memcached's 32 bits take for less than 0.
pub fn expiry(exptime: i64, now: u64) -> Option<u64> {
    match exptime {
        0 => None,
        1..=RELATIVE_MAX => Some(now + exptime as u64 * 1000),
        ABSOLUTE_MIN..=ABSOLUTE_MAX => Some((exptime as u64 * 1000).max(now)),
        _ => Some(now),
    }
}

/// The whole seconds, rounded up, from `now` to a deadline.
pub const fn seconds_left(deadline: u64, now: u64) -> u64 {
    deadline.saturating_sub(now).div_ceil(1000)
}

/// What is to be stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Store<'a> {
    /// On what condition, and how.
    pub mode: Mode,
    /// The bytes.
    pub value: &'a [u8],
    /// The client's flags; a value that grows keeps those it has.
    pub flags: u32,
    /// When it ends; a value that grows keeps its deadline.
    pub deadline: Option<u64>,
    /// The CAS value that the item must have.
    pub compare: Option<u64>,
    /// Whether a smaller `compare` stores too, but leaves the item stale.
    pub stale: bool,
    /// The CAS value that the item gets, if not one of the server's.
    pub cas: Option<u64>,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It's stored, under this CAS value.
    Done(u64),
    /// The mode's condition isn't met.
    NotStored,
    /// The item has another CAS value.
    Exists,
    /// There is no item to compare with.
    NotFound,
    /// The key holds something that can't grow like a string.
    WrongKind,
}

/// Stores a value on a condition.
///
/// `fits` says whether an item with that many bytes of value is small enough; it's asked about
/// values that grow.
///
/// # Errors
/// [`Full`], and nothing is changed.
pub fn store(
    place: &mut Place<'_>,
    wanted: &Store<'_>,
    fits: impl Fn(usize) -> bool,
) -> Result<Stored, Full> {
    let Store { deadline, flags, cas, .. } = *wanted;
    let fresh = Meta { deadline, flags, cas, ..Meta::default() };
    let Some(old) = place.any() else {
        return match wanted.mode {
            Mode::Set | Mode::Replace if wanted.compare.is_some() => Ok(Stored::NotFound),
            Mode::Set | Mode::Add => Ok(Stored::Done(place.put(wanted.value, fresh)?)),
            _ => Ok(Stored::NotStored),
        };
    };
    let is_string = old.kind() == Kind::String;
    let (cas, meta) = (old.cas(), old.meta());
    let matches = wanted.compare.is_none_or(|compare| is_string && compare == cas);
    match wanted.mode {
        Mode::Add => {
            // Finding it occupied counts as a use of the item.
            place.get();
            Ok(Stored::NotStored)
        }
        Mode::Set | Mode::Replace if matches => Ok(Stored::Done(place.put(wanted.value, fresh)?)),
        Mode::Set | Mode::Replace => {
            let older = wanted.compare.is_some_and(|compare| compare != 0 && compare < cas);
            if !(is_string && wanted.stale && older) {
                return Ok(Stored::Exists);
            }
            let state = meta.state | Meta::STALE;
            let kept = Meta { deadline: meta.deadline, state, ..fresh };
            Ok(Stored::Done(place.put(wanted.value, kept)?))
        }
        Mode::Append | Mode::Prepend if !is_string => Ok(Stored::WrongKind),
        Mode::Append | Mode::Prepend => {
            if !matches && wanted.compare != Some(0) {
                return Ok(Stored::Exists);
            }
            grow(place, wanted, fits)
        }
    }
}

/// Puts bytes before or behind a string that is there.
fn grow(
    place: &mut Place<'_>,
    wanted: &Store<'_>,
    fits: impl Fn(usize) -> bool,
) -> Result<Stored, Full> {
    let Some(old) = place.peek() else { return Ok(Stored::NotStored) };
    let Some(string) = old.string() else { return Ok(Stored::WrongKind) };
    let len = string.len();
    if !fits(len + wanted.value.len()) {
        // memcached finds no place for the longer copy then, and doesn't say why.
        return Ok(Stored::NotStored);
    }
    let meta = old.meta();
    if wanted.mode == Mode::Append && meta.state == 0 && wanted.cas.is_none() {
        let applied = place.apply(Change::Splice { at: len, bytes: wanted.value })?;
        return Ok(Stored::Done(applied.version));
    }
    let mut value = Vec::with_capacity(len + wanted.value.len());
    if wanted.mode == Mode::Prepend {
        value.extend_from_slice(wanted.value);
    }
    string.read(0..len, &mut value);
    if wanted.mode == Mode::Append {
        value.extend_from_slice(wanted.value);
    }
    // Whoever writes a value renews the item.
    Ok(Stored::Done(place.put(&value, Meta { state: 0, cas: wanted.cas, ..meta })?))
}

/// What became of a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// It's done.
    Done,
    /// There is no such item.
    NotFound,
    /// The item has another CAS value.
    Exists,
}

/// Deletes a key, of whatever kind; if `compare` is given, only an item with that CAS value.
///
/// # Errors
/// [`Full`], and nothing is changed.
pub fn delete(place: &mut Place<'_>, compare: Option<u64>) -> Result<Deleted, Full> {
    let Some(old) = place.any() else { return Ok(Deleted::NotFound) };
    if compare.is_some_and(|compare| compare != old.cas() || old.kind() != Kind::String) {
        return Ok(Deleted::Exists);
    }
    place.apply(Change::Remove(Cause::Deleted))?;
    Ok(Deleted::Done)
}

/// How an item is set aside without being deleted.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAside {
    /// The CAS value that the item must have.
    pub compare: Option<u64>,
    /// Whether it's marked stale, so that the next reader may renew it.
    pub stale: bool,
    /// Whether its value is dropped, and its flags with it.
    pub empty: bool,
    /// When it ends from now on; its deadline stays if nothing is given.
    pub deadline: Option<Option<u64>>,
    /// The CAS value that it gets, if not one of the server's.
    pub cas: Option<u64>,
}

/// Marks an item stale, or takes its value away. Its CAS value changes.
///
/// # Errors
/// [`Full`], and nothing is changed.
pub fn set_aside(place: &mut Place<'_>, how: &SetAside) -> Result<Deleted, Full> {
    let Some(old) = place.peek() else { return Ok(Deleted::NotFound) };
    if how.compare.is_some_and(|compare| compare != old.cas()) {
        return Ok(Deleted::Exists);
    }
    let mut meta = Meta { cas: how.cas, ..old.meta() };
    if how.stale {
        meta.state = Meta::STALE;
    }
    if let Some(deadline) = how.deadline {
        meta.deadline = deadline;
    }
    let mut value = Vec::new();
    match old.string() {
        Some(string) if !how.empty => string.read(0..string.len(), &mut value),
        _ => meta.flags = 0,
    }
    place.put(&value, meta)?;
    Ok(Deleted::Done)
}

/// How a counter moves.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Whether down rather than up.
    pub down: bool,
    /// By how much.
    pub delta: u64,
    /// The CAS value that the item must have; 0 is any.
    pub compare: Option<u64>,
    /// The deadline and the number of the item to make if there is none.
    pub vivify: Option<(Option<u64>, u64)>,
    /// When it ends from now on; its deadline stays if nothing is given.
    pub deadline: Option<Option<u64>>,
    /// The CAS value that it gets, if not one of the server's.
    pub cas: Option<u64>,
}

/// What became of a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// It has this value.
    Done {
        /// The number.
        value: u64,
        /// The CAS value.
        cas: u64,
        /// When it would have ended; nothing if it was made just now.
        deadline: Option<u64>,
        /// Whether it was made just now.
        made: bool,
    },
    /// There is no such item.
    NotFound,
    /// The item has another CAS value.
    Exists,
    /// What is there isn't a number.
    NotANumber,
}

/// Moves a counter: up it wraps at 2^64, down it stops at 0. A number that gets shorter keeps its
/// width, with spaces behind it.
///
/// # Errors
/// [`Full`], and nothing is changed.
pub fn count(place: &mut Place<'_>, how: &Count) -> Result<Counted, Full> {
    let mut digits = itoa::Buffer::new();
    let Some(old) = place.any() else {
        let Some((deadline, value)) = how.vivify else { return Ok(Counted::NotFound) };
        let deadline = how.deadline.unwrap_or(deadline);
        let meta = Meta { deadline, cas: how.cas, ..Meta::default() };
        let cas = place.put(digits.format(value).as_bytes(), meta)?;
        return Ok(Counted::Done { value, cas, deadline: None, made: true });
    };
    let Some(string) = old.string() else { return Ok(Counted::NotANumber) };
    let width = string.len();
    // A value that doesn't stand in one piece is far too long for a number.
    let bytes = string.as_slice().unwrap_or_default();
    if bytes.is_empty() {
        return Ok(Counted::NotANumber);
    }
    if how.compare.is_some_and(|compare| compare != 0 && compare != old.cas()) {
        return Ok(Counted::Exists);
    }
    let Some(before) = number(bytes) else { return Ok(Counted::NotANumber) };
    let value = match how.down {
        true => before.saturating_sub(how.delta),
        false => before.wrapping_add(how.delta),
    };
    let before_deadline = old.deadline();
    let deadline = how.deadline.unwrap_or(before_deadline);
    let meta = Meta { deadline, cas: how.cas, ..old.meta() };
    let mut text = digits.format(value).as_bytes().to_vec();
    text.resize(text.len().max(width), b' ');
    let cas = place.put(&text, meta)?;
    Ok(Counted::Done { value, cas, deadline: before_deadline, made: false })
}

/// Gives an item another deadline; whether there is one. Doesn't count as a use.
///
/// # Errors
/// [`Full`], and nothing is changed.
pub fn touch(place: &mut Place<'_>, deadline: Option<u64>) -> Result<bool, Full> {
    if place.peek().is_none() {
        return Ok(false);
    }
    place.apply(Change::Deadline { at: deadline, slide: false })?;
    Ok(true)
}

/// Makes an empty item whose maker has won the right to fill it. Answers its CAS value.
///
/// # Errors
/// [`Full`], and nothing is changed.
pub fn make_stub(
    place: &mut Place<'_>,
    deadline: Option<u64>,
    cas: Option<u64>,
) -> Result<u64, Full> {
    place.put(b"", Meta { deadline, state: Meta::WON, cas, ..Meta::default() })
}

/// Changes an item's deadline and state; its value and its CAS value stay.
///
/// # Errors
/// [`Full`], and nothing is changed.
pub fn mark(place: &mut Place<'_>, meta: Meta) -> Result<(), Full> {
    place.apply(Change::Meta(meta)).map(|_| ())
}

/// A decimal number as memcached reads it from a value: white space before it, anything after
/// white space behind it.
fn number(bytes: &[u8]) -> Option<u64> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = bytes.iter().position(|byte| !is_space(byte))?;
    let text = bytes.get(start..)?;
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    if text.get(end).is_some_and(|byte| !is_space(byte) && *byte != 0) {
        return None;
    }
    std::str::from_utf8(text.get(..end)?).ok()?.parse().ok()
}
