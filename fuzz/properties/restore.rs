//! Any bytes are a value that is dumped and restored as the same, or refused; with a wrong
//! checksum always refused.

use super::rdb::shown;
use persist::checksum;
use persist::dump;
use persist::rdb::{Body, Encoder};

const SIP: [u64; 2] = [3, 5];

/// Restores `data` as it is, and as type and value of a payload that is right otherwise.
pub(crate) fn check(data: &[u8]) {
    let _ = dump::read(data, SIP);
    for version in [10_u16, 80] {
        let mut payload = data.to_vec();
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
