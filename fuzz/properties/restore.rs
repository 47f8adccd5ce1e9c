//! Any bytes are a value that is dumped and restored as the same, or refused; with a wrong
//! checksum always refused.

use super::rdb::shown;
use persist::checksum;
use persist::dump;
use persist::rdb::{Body, Encoder};

const SIP: [u64; 2] = [3, 5];

/// The types that are kept, one that isn't known, and what may stand before a type.
const KINDS: [u8; 16] = [0, 4, 9, 13, 16, 22, 23, 24, 25, 29, 30, 31, 32, 77, 0xe0, 0xf3];

/// Restores `data` as it is, as type and value of a payload that is right otherwise, and as a value
/// of each type.
pub(crate) fn check(data: &[u8]) {
    let _ = dump::read(data, SIP);
    check_value(data);
    for kind in KINDS {
        check_value(&[&[kind], data].concat());
    }
}

fn check_value(value: &[u8]) {
    for version in [10_u16, 15, 80] {
        let mut payload = value.to_vec();
        payload.extend_from_slice(&version.to_le_bytes());
        let sum = checksum::of(&payload);
        payload.extend_from_slice(&(sum ^ 1).to_le_bytes());
        assert!(matches!(dump::read(&payload, SIP), Err(dump::Error::Footer)));
        payload.truncate(payload.len() - 8);
        payload.extend_from_slice(&sum.to_le_bytes());
        let Ok(value) = dump::read(&payload, SIP) else { continue };
        let mut again = Vec::new();
        dump::write(&mut Encoder::new(true), Body::of(&value), &mut again);
        let read = dump::read(&again, SIP).expect("what was dumped is restored");
        assert_eq!(shown(&read), shown(&value));
    }
}
