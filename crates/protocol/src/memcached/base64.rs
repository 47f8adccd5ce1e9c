//! Keys in base64 (RFC 4648, the alphabet with `+` and `/`, padded).

use crate::limits::MC_KEY_MAX;

/// The bytes of the longest key that base64 can spell.
pub(super) const DECODED_MAX: usize = MC_KEY_MAX / 4 * 3;

/// Decodes `text` into `buffer`; nothing if it's not base64, empty, or too long.
pub(super) fn decode<'b>(text: &[u8], buffer: &'b mut [u8; DECODED_MAX]) -> Option<&'b [u8]> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let digits = text.get(..text.len() - padding)?;
    let mut len = 0;
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            bits = bits << 6 | u32::from(value(*digit)?);
        }
        bits <<= 6 * (4 - group.len());
        let bytes = bits.to_be_bytes();
        let decoded = bytes.get(1..group.len())?;
        buffer.get_mut(len..len + decoded.len())?.copy_from_slice(decoded);
        len += decoded.len();
    }
    buffer.get(..len)
}

const fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_is_base64_and_nothing_else() {
        let mut buffer = [0; DECODED_MAX];
        let mut read = |text: &[u8]| decode(text, &mut buffer).map(<[u8]>::to_vec);
        assert_eq!(read(b"YWJj"), Some(b"abc".to_vec()));
        assert_eq!(read(b"YWI="), Some(b"ab".to_vec()));
        assert_eq!(read(b"YQ=="), Some(b"a".to_vec()));
        assert_eq!(read(b"+/+/AAAA"), Some(vec![0xfb, 0xff, 0xbf, 0, 0, 0]));
        for bad in [&b""[..], b"YQ", b"Y===", b"====", b"YQ=a", b"Y!==", b"YWJj\n"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(read(&[b'A'; 248]).map(|key| key.len()), Some(186));
        assert_eq!(read(&[b'A'; 252]), None);
    }
}
