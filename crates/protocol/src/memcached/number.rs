//! Numbers as memcached reads them: as `strtol` does, of a whole word.
//!
//! What always holds: white space before a number and anything after white space behind it is
//! overlooked, a sign is understood; 32-bit numbers are what is left of 64 bits, as in memcached.

/// A signed number of 32 bits.
pub(super) fn int(word: &[u8]) -> Option<i64> {
    let (negative, magnitude) = read(word)?;
    let value = if negative {
        0i64.checked_sub_unsigned(magnitude)?
    } else {
        i64::try_from(magnitude).ok()?
    };
    Some(i64::from(value as i32))
}

/// A length: like [`int`], but of 64 bits, so that what is announced is known.
pub(super) fn length(word: &[u8]) -> Option<u64> {
    match read(word)? {
        (true, magnitude) if magnitude > 0 => None,
        (_, magnitude) => i64::try_from(magnitude).ok().map(i64::cast_unsigned),
    }
}

/// A number of 32 bits without a sign.
pub(super) fn unsigned(word: &[u8]) -> Option<u32> {
    long(word).map(|value| value as u32)
}

/// A number of 64 bits without a sign.
pub(super) fn long(word: &[u8]) -> Option<u64> {
    match read(word)? {
        (true, magnitude) if magnitude > 0 => None,
        (_, magnitude) => Some(magnitude),
    }
}

/// A sign and a magnitude.
fn read(word: &[u8]) -> Option<(bool, u64)> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = word.iter().position(|byte| !is_space(byte))?;
    let (negative, digits) = match word.get(start..)? {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut value = 0u64;
    let mut rest = digits;
    while let [digit @ b'0'..=b'9', more @ ..] = rest {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        rest = more;
    }
    let ends = rest.first().is_none_or(|byte| is_space(byte) || *byte == 0);
    (rest.len() < digits.len() && ends).then_some((negative, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_memcached_reads_them() {
        assert_eq!(int(b"-1"), Some(-1));
        assert_eq!(int(b"4294967297"), Some(1));
        assert_eq!(int(b"2147483648"), Some(-2_147_483_648));
        assert_eq!((int(b""), int(b"-"), int(b"1x"), int(b"x")), (None, None, None, None));
        assert_eq!((int(b"\t+7\t"), int(b"99999999999999999999")), (Some(7), None));
        assert_eq!((unsigned(b"-0"), unsigned(b"-1"), unsigned(b"007")), (Some(0), None, Some(7)));
        assert_eq!(long(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(long(b"18446744073709551616"), None);
        assert_eq!((length(b"5"), length(b"-5")), (Some(5), None));
        assert_eq!(length(b"18446744073709551615"), None);
    }
}
