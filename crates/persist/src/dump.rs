//! DUMP payloads: one value with a version and a checksum, for RESTORE.
//!
//! ```text
//! | type (1) | value as in an RDB file | version (2, low end first) | CRC-64 of all before (8) |
//! ```
//!
//! A hash with deadlines of fields, or without fields, has no type in Redis 7.0: it gets one of
//! our own ([`DATED`]), which Sessile restores and Redis refuses as bad data.
//! What always holds: [`read`] answers a whole value or an error; it never looks at a value whose
//! checksum is wrong.

use crate::checksum;
use crate::extra::Extra;
use crate::rdb::{
    self, Body, Collect, Encoder, Form, Input, Templates, VERSION, VERSION_VALKEY, VERSIONS,
};
use engine::hash::{Field, HashView, SipKey};
use engine::{OwnedItem, OwnedValue};
use std::fmt;

/// The type of a hash whose fields may have deadlines: as type 4, each field followed by its
/// deadline in Unix milliseconds (8 bytes, low end first), 0 for none.
pub const DATED: u8 = 0xe0;

/// Bytes after the value.
const FOOTER: usize = 10;

/// Why a payload can't be restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// It's too short, of a version that isn't read, or its checksum is wrong: Redis says
    /// `ERR DUMP payload version or checksum are wrong`.
    Footer,
    /// A value of a type that isn't kept.
    Kind(u8),
    /// The value isn't one: Redis says `ERR Bad data format`.
    Value(rdb::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Footer => f.write_str("DUMP payload version or checksum are wrong"),
            Self::Kind(kind) => write!(f, "Bad data format: values of type {kind} aren't kept"),
            Self::Value(error) => write!(f, "Bad data format: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Appends the payload of a value.
pub fn write(encoder: &mut Encoder, body: Body<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    match body {
        Body::Hash(hash) if hash.is_empty() || hash.first_deadline().is_some() => {
            dated(encoder, hash, out);
        }
        _ => encoder.value(body, out),
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    let sum = checksum::of(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

/// As [`write`], of an item outside the arena. What stands beside the value isn't in a payload.
pub fn write_owned(encoder: &mut Encoder, item: &OwnedItem, out: &mut Vec<u8>) {
    write(encoder, Body::of(&item.value), out);
}

/// Reads a payload. `sip` is the key of the arena that the value is for.
///
/// # Errors
/// The payload isn't whole and right from its first byte to its last.
pub fn read(payload: &[u8], sip: SipKey) -> Result<OwnedValue, Error> {
    let at = payload.len().checked_sub(FOOTER).ok_or(Error::Footer)?;
    let (value, footer) = payload.split_at(at);
    let Some((version, sum)) = footer.split_first_chunk::<2>() else { return Err(Error::Footer) };
    let version = u16::from_le_bytes(*version);
    let summed = payload.get(..at + 2).unwrap_or_default();
    let right = sum == checksum::of(summed).to_le_bytes();
    if !right || !VERSIONS.contains(&version) && version != VERSION_VALKEY {
        return Err(Error::Footer);
    }
    let valkey = version == VERSION_VALKEY;
    let mut input = Input::new(value);
    let mut kind = input.byte().map_err(|_| Error::Footer)?;
    if kind == rdb::KEY_METADATA && !valkey {
        // What modules kept beside the key; they aren't here.
        rdb::metadata(&mut input).map_err(Error::Value)?;
        kind = input.byte().map_err(Error::Value)?;
    }
    let read = if kind == DATED {
        read_dated(&mut input, sip)
    } else if rdb::is_kept(kind, valkey) {
        let form = Form { kind, valkey, templates: &Templates::default() };
        rdb::value(&mut input, form, sip, &Extra::default())
    } else {
        return Err(Error::Kind(kind));
    };
    let read = read.map_err(Error::Value)?;
    match input.is_at_end() {
        Ok(true) => Ok(read),
        _ => Err(Error::Value(input.error(rdb::Problem::Length))),
    }
}

fn dated(encoder: &mut Encoder, hash: HashView<'_>, out: &mut Vec<u8>) {
    out.push(DATED);
    rdb::length(hash.live_len(0) as u64, out);
    for field in hash.iter(0) {
        encoder.string(field.name, out);
        encoder.string(field.value, out);
        out.extend_from_slice(&field.deadline.unwrap_or(0).to_le_bytes());
    }
}

fn read_dated(input: &mut Input<&[u8]>, sip: SipKey) -> Result<OwnedValue, rdb::Error> {
    let mut all = Collect::new(sip);
    let twice = |input: &Input<&[u8]>| input.error(rdb::Problem::Collection("hash"));
    for _ in 0..input.length()? {
        let (name, value) = (input.string()?, input.string()?);
        let at = u64::from_le_bytes(input.array()?);
        let field = Field { name: &name, value: &value, deadline: (at > 0).then_some(at) };
        all.add(field).ok_or_else(|| twice(input))?;
    }
    all.finish(std::iter::empty()).ok_or_else(|| twice(input))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::tests::{fields, random_value};
    use engine::Rng;
    use engine::limits::FIELD_DEADLINE_MAX_MS;

    const SIP: SipKey = [5, 6];

    #[test]
    fn what_is_dumped_is_restored() {
        let mut encoder = Encoder::new(true);
        for seed in 0..400 {
            let value = random_value(&mut Rng::new(seed), SIP);
            let mut payload = Vec::new();
            write(&mut encoder, Body::of(&value), &mut payload);
            let read = read(&payload, SIP).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(fields(&read), fields(&value), "seed {seed}");
        }
    }

    #[test]
    fn no_flipped_or_missing_byte_passes() {
        let mut encoder = Encoder::new(true);
        for seed in 0..40 {
            let value = random_value(&mut Rng::new(seed * 7), SIP);
            let mut payload = Vec::new();
            write(&mut encoder, Body::of(&value), &mut payload);
            payload.truncate(3000);
            for at in 0..payload.len() {
                assert!(read(&payload[..at], SIP).is_err(), "seed {seed}, cut {at}");
                payload[at] ^= 1 << (at % 8);
                assert!(matches!(read(&payload, SIP), Err(Error::Footer)), "seed {seed}, {at}");
                payload[at] ^= 1 << (at % 8);
            }
        }
    }

    #[test]
    fn a_right_checksum_saves_no_wrong_value() {
        let mut rng = Rng::new(17);
        let mut whole = 0;
        for seed in 0..40_000_u64 {
            let value = random_value(&mut Rng::new(seed % 300), SIP);
            let mut payload = Vec::new();
            write(&mut Encoder::new(true), Body::of(&value), &mut payload);
            payload.truncate(payload.len() - 8);
            for _ in 0..=rng.below(3) {
                let at = rng.below(payload.len() as u64) as usize;
                payload[at] = rng.next_u64() as u8;
            }
            payload.extend_from_slice(&checksum::of(&payload).to_le_bytes());
            whole += usize::from(read(&payload, SIP).is_ok());
        }
        assert!(whole > 0, "no mutation was harmless, which is hard to believe");
    }

    #[test]
    fn no_field_ends_later_than_a_client_may_say() {
        let mut payload = vec![DATED, 1, 1, b'f', 1, b'v'];
        payload.extend_from_slice(&u64::MAX.to_le_bytes());
        payload.extend_from_slice(&VERSION.to_le_bytes());
        payload.extend_from_slice(&checksum::of(&payload).to_le_bytes());
        let value = read(&payload, SIP).unwrap();
        let Body::Hash(hash) = Body::of(&value) else { panic!("{value:?}") };
        assert_eq!(hash.first_deadline(), Some(FIELD_DEADLINE_MAX_MS));
    }
}
