//! Rules of strings: what SET asks before it stores, what counting makes of a value.
//!
//! What always holds: nothing here changes a key; a handler asks, then applies one effect.
//! Not for: parsing requests, replies.

use crate::client::Client;
use crate::context::Shards;
use crate::failure::Failure;
use crate::ops::extended;
use engine::{Entry, Key, Kind, Meta, StringView};
use protocol::resp::{fmt_long_double, parse_f64, parse_i64};

/// The value would be longer than any may be.
pub const TOO_LONG: Failure =
    Failure::text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// The entry under a key of the client's database; a use of it, unless the client leaves none.
#[inline]
pub fn entry<'s>(
    shards: &'s mut (dyn Shards + '_),
    client: &Client,
    key: &Key<'_>,
    now: u64,
) -> Option<Entry<'s>> {
    let number = key.hash.shard(shards.count());
    let shard = shards.shard(number);
    if client.no_touch { shard.peek(client.db, key, now) } else { shard.get(client.db, key, now) }
}

/// As [`entry`], of a key that must hold a string if it's there.
///
/// # Errors
/// [`Failure::WRONG_TYPE`].
#[inline]
pub fn find<'s>(
    shards: &'s mut (dyn Shards + '_),
    client: &Client,
    key: &Key<'_>,
    now: u64,
) -> Result<Option<Found<'s>>, Failure> {
    match entry(shards, client, key, now) {
        Some(entry) if entry.kind() == Kind::String => {
            Ok(entry.string().map(|string| Found { entry, string }))
        }
        Some(_) => Err(Failure::WRONG_TYPE),
        None => Ok(None),
    }
}

/// A key that holds a string.
#[derive(Clone, Copy, Debug)]
pub struct Found<'s> {
    /// Its entry.
    pub entry: Entry<'s>,
    /// Its value.
    pub string: StringView<'s>,
}

impl Found<'_> {
    /// What a command keeps that changes the value only.
    #[inline]
    pub fn kept_meta(&self) -> Meta {
        Meta { cas: None, ..self.entry.meta() }
    }
}

/// When SET stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition<'a> {
    /// Always.
    Always,
    /// There is no such key.
    Absent,
    /// There is one.
    Present,
    /// The key holds a string of these bytes.
    Equals(&'a [u8]),
}

impl Condition<'_> {
    /// Whether it holds for what stands under the key.
    ///
    /// # Errors
    /// [`Failure::WRONG_TYPE`] if something else than a string would have to be compared.
    pub fn holds(self, entry: Option<Entry<'_>>) -> Result<bool, Failure> {
        match (self, entry) {
            (Self::Always, _) => Ok(true),
            (Self::Absent, entry) => Ok(entry.is_none()),
            (Self::Present, entry) => Ok(entry.is_some()),
            (Self::Equals(_), None) => Ok(false),
            (Self::Equals(expected), Some(entry)) => match entry.string() {
                Some(string) => Ok(equals(&string, expected)),
                None => Err(Failure::WRONG_TYPE),
            },
        }
    }
}

/// What INCR and its kin make of a value; a missing one counts as 0.
///
/// # Errors
/// If the value isn't an integer, or the sum isn't one of 64 bits.
pub fn add(current: Option<&StringView<'_>>, by: i64) -> Result<i64, Failure> {
    let current = match current {
        Some(string) => string.as_slice().and_then(parse_i64).ok_or(Failure::NOT_AN_INTEGER)?,
        None => 0,
    };
    current.checked_add(by).ok_or(Failure::text("ERR increment or decrement would overflow"))
}

/// What INCRBYFLOAT makes of a value, as text; a missing one counts as 0.
///
/// # Errors
/// If one of them isn't a number, or the sum isn't finite.
pub fn add_float(current: Option<&[u8]>, by: &[u8]) -> Result<String, Failure> {
    let current = current.unwrap_or(b"0");
    let a = parse_f64(current).ok_or(Failure::NOT_A_FLOAT)?;
    let b = parse_f64(by).ok_or(Failure::NOT_A_FLOAT)?;
    let sum = a + b;
    if !sum.is_finite() {
        return Err(Failure::text("ERR increment would produce NaN or Infinity"));
    }
    Ok(extended::sum(current, by).unwrap_or_else(|| fmt_long_double(sum)))
}

fn equals(string: &StringView<'_>, expected: &[u8]) -> bool {
    let mut rest = expected;
    string.len() == expected.len()
        && string.pieces().all(|piece| match rest.split_at_checked(piece.len()) {
            Some((head, tail)) => {
                rest = tail;
                head == piece
            }
            None => false,
        })
}
