//! Sums of decimal numbers with the 64-bit mantissas of x86's `long double`, in which Redis adds
//! floats: 0.1 and 0.2 are 0.3, and where Redis shows noise in the last digits, so do we.
//!
//! ```text
//! value = mantissa / 2^scale        mantissa < 2^64, rounded half to even
//! ```
//!
//! What always holds: an answer is digit for digit what Redis prints. Numbers that it can't be
//! had for in 128-bit arithmetic (20 digits after the point, more than 2^64) have none.

/// Digits after the point that are printed.
const PRINTED: usize = 17;

/// The sum of two decimal numbers as text, without an exponent; none if one of them isn't plain
/// or is too long.
pub fn sum(a: &[u8], b: &[u8]) -> Option<String> {
    Some(Extended::parse(a)?.plus(Extended::parse(b)?)?.print())
}

#[derive(Clone, Copy)]
struct Extended {
    negative: bool,
    mantissa: u64,
    scale: i32,
}

impl Extended {
    fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] | rest => (false, rest),
        };
        let digits = std::str::from_utf8(digits).ok()?;
        let (digits, exponent) = match digits.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (digits, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut value = 0u128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = digit.is_ascii_digit().then(|| u128::from(digit - b'0'))?;
            value = value.checked_mul(10)?.checked_add(digit)?;
        }
        let mut places = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        while places > 0 && value.is_multiple_of(10) && value > 0 {
            (value, places) = (value / 10, places - 1);
        }
        if value == 0 {
            return Some(Self { negative, mantissa: 0, scale: 0 });
        }
        let power = |n: i32| 10u128.checked_pow(u32::try_from(n).ok()?);
        let (value, divisor) = match places {
            ..0 => (value.checked_mul(power(places.checked_neg()?)?)?, 1),
            0..=19 => (value, power(places)?),
            _ => return None,
        };
        Self::quotient(negative, value, divisor)
    }

    /// `value / divisor`, rounded; the divisor has at most 64 bits.
    fn quotient(negative: bool, value: u128, divisor: u128) -> Option<Self> {
        let bits = |n: u128| 128 - n.leading_zeros() as i32;
        let mut scale = bits(divisor) + 64 - bits(value);
        if scale > 0 && (value << scale) / divisor > u128::from(u64::MAX) {
            scale -= 1;
        }
        let value = value << u32::try_from(scale).ok()?;
        let rounded = value / divisor + half_up(value / divisor, value % divisor, divisor);
        if rounded >> 64 > 0 {
            return (rounded == 1 << 64).then_some(Self {
                negative,
                mantissa: 1 << 63,
                scale: scale - 1,
            });
        }
        Some(Self { negative, mantissa: rounded as u64, scale })
    }

    fn plus(self, other: Self) -> Option<Self> {
        // The one of the smaller scale is the larger number, or a zero.
        let (big, small) = match (self, other) {
            (a, b) if a.mantissa == 0 => return Some(b),
            (a, b) if b.mantissa == 0 => return Some(a),
            (a, b) if (a.scale, b.mantissa) <= (b.scale, a.mantissa) => (a, b),
            (a, b) => (b, a),
        };
        let apart = big.scale.abs_diff(small.scale);
        let high = u128::from(big.mantissa) << 63;
        let (low, lost) = match apart {
            0..=63 => (u128::from(small.mantissa) << (63 - apart), false),
            64..=126 => {
                let drop = apart - 63;
                let kept = u128::from(small.mantissa) >> drop;
                (kept, kept << drop != u128::from(small.mantissa))
            }
            _ => (0, true),
        };
        let exact = if big.negative == small.negative {
            high.checked_add(low)?
        } else {
            high.checked_sub(low)?.checked_sub(u128::from(lost))?
        };
        Some(Self::rounded(big.negative, exact, lost, big.scale + 63))
    }

    /// The number `exact / 2^scale`, or a little more if something was `lost`.
    fn rounded(negative: bool, exact: u128, lost: bool, scale: i32) -> Self {
        let drop = 64u32.saturating_sub(exact.leading_zeros());
        let (kept, rest) = (exact >> drop, exact & ((1 << drop) - 1));
        // Twice the rest, so that what was lost can be less than its unit.
        let up = half_up(kept, 2 * rest + u128::from(lost), 2 << drop);
        let (kept, drop) =
            if kept + up > u128::from(u64::MAX) { (1 << 63, drop + 1) } else { (kept + up, drop) };
        Self { negative, mantissa: kept as u64, scale: scale - drop as i32 }
    }

    fn print(self) -> String {
        let mantissa = u128::from(self.mantissa);
        let (mut whole, mut fraction) = match self.scale {
            ..=0 => (mantissa << self.scale.unsigned_abs().min(63), 0),
            scale @ 1..=127 => {
                let whole = mantissa >> scale;
                let parts = (mantissa & ((1 << scale) - 1)) * 10u128.pow(PRINTED as u32);
                let (kept, rest) = (parts >> scale, parts & ((1 << scale) - 1));
                (whole, kept + half_up(kept, rest, 1 << scale))
            }
            _ => (0, 0),
        };
        if fraction == 10u128.pow(PRINTED as u32) {
            (whole, fraction) = (whole + 1, 0);
        }
        let sign = if self.negative && (whole, fraction) != (0, 0) { "-" } else { "" };
        let text = format!("{sign}{whole}.{fraction:0PRINTED$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// 1 if `kept` and a remainder of `rest / unit` are rounded up: from the half on, if `kept` is
/// odd; else beyond it.
const fn half_up(kept: u128, rest: u128, unit: u128) -> u128 {
    let half = unit / 2;
    let exactly = unit.is_multiple_of(2) && rest == half;
    (rest > half || exactly && !kept.is_multiple_of(2)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_redis() {
        let cases = [
            ("0.1", "0.2", "0.3"),
            ("10.5", "0.1", "10.6"),
            ("5.6", "5.0e3", "5005.60000000000000009"),
            ("3.0", "1", "4"),
            ("1e17", "1", "100000000000000001"),
            ("0", "-0.0", "0"),
            ("9223372036854775807", "9223372036854775808", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808", "-18446744073709551616"),
            ("9223372036854775808", "-3", "9223372036854775805"),
            ("9223372036854775808", "1.5", "9223372036854775810"),
            ("1.5", "-1.5", "0"),
            ("-1", "0.25", "-0.75"),
            ("1e-18", "0", "0"),
        ];
        for (a, b, expected) in cases {
            assert_eq!(sum(a.as_bytes(), b.as_bytes()).as_deref(), Some(expected), "{a} + {b}");
            assert_eq!(sum(b.as_bytes(), a.as_bytes()).as_deref(), Some(expected), "{b} + {a}");
        }
        for text in ["", ".", "inf", "0x10", "1e400", "1e-30", "1x", "1e21"] {
            assert_eq!(sum(text.as_bytes(), b"1"), None, "{text}");
        }
    }
}
