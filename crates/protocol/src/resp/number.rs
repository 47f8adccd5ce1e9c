//! Numbers as text, by the rules that Redis has for them.
//!
//! What always holds: what prints as an integer parses as the same integer, and nothing that
//! doesn't print so parses (no `+`, no leading zeros, no spaces).

/// Parses a signed 64-bit integer, strictly.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = parse_u64(digits)?;
    if negative {
        if magnitude == 0 {
            return None;
        }
        return 0i64.checked_sub_unsigned(magnitude);
    }
    i64::try_from(magnitude).ok()
}

/// Parses an unsigned 64-bit integer, strictly.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= 20 => {}
        _ => return None,
    }
    let mut value = 0u64;
    for digit in text {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

/// Parses a floating-point number as `strtod` does, of the whole text; not-a-number is refused.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || text.starts_with(char::is_whitespace) {
        return None;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value = if unsigned.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("0x")) {
        let value = parse_hex(unsigned.get(2..)?)?;
        if text.starts_with('-') { -value } else { value }
    } else {
        text.parse::<f64>().ok()?
    };
    // strtod reports what is too small for a double just as what is too large.
    let vanished = value == 0.0 && has_digits_but_zero(unsigned);
    let spelled = unsigned.starts_with(|c: char| c.eq_ignore_ascii_case(&'i'));
    let refused = value.is_nan() || vanished || value.is_infinite() && !spelled;
    if refused { None } else { Some(value) }
}

/// Whether the digits before any exponent say something else than 0.
fn has_digits_but_zero(text: &str) -> bool {
    let (digits, ends): (&str, &[char]) = match text.get(..2) {
        Some("0x" | "0X") => (text.get(2..).unwrap_or_default(), &['p', 'P']),
        _ => (text, &['e', 'E']),
    };
    digits.split(ends).next().is_some_and(|digits| digits.contains(|c| !matches!(c, '0' | '.')))
}

fn parse_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let scale = exponent.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    Some(value * 2f64.powi(scale))
}

/// Prints a double in the shortest form that reads back the same, as `%.17g` looks: RESP3 doubles.
pub fn fmt_double(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value == value.trunc() && value.abs() < 1e17 {
        return if value == 0.0 && value.is_sign_negative() {
            "-0".to_owned()
        } else {
            format!("{value:.0}")
        };
    }
    let plain = value.abs() >= 1e-5 && value.abs() < 1e17;
    if plain {
        return format!("{value}");
    }
    // Rust writes 1e-7, C writes 1e-07.
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, size) = match exponent.strip_prefix('-') {
        Some(size) => ('-', size),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{size:0>2}")
}

/// Prints a double as INCRBYFLOAT does: never with an exponent, at most 17 digits after the point,
/// zeros at the end left out.
pub fn fmt_long_double(value: f64) -> String {
    let shortest = format!("{value}");
    let digits = shortest.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let text = if digits > 17 { format!("{value:.17}") } else { shortest };
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    if text == "-0" { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        for good in [0, 1, -1, 42, i64::MAX, i64::MIN] {
            assert_eq!(parse_i64(good.to_string().as_bytes()), Some(good));
        }
        for bad in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "0x1"] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }

    #[test]
    fn floats_follow_strtod() {
        for (text, value) in
            [("1.5", 1.5), ("-3e2", -300.0), ("inf", f64::INFINITY), ("0x10", 16.0)]
        {
            assert_eq!(parse_f64(text.as_bytes()), Some(value));
        }
        for zero in ["0", "-0", "0e5", "0.00e-999", "0x0p9"] {
            assert_eq!(parse_f64(zero.as_bytes()), Some(0.0), "{zero}");
        }
        for bad in ["", " 1", "1 ", "nan", "1e999", "1e-999", "0x1p-2000", "abc", "0x"] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn floats_print_without_noise() {
        assert_eq!(fmt_long_double(10.6), "10.6");
        assert_eq!(fmt_long_double(5000.0), "5000");
        assert_eq!(fmt_double(3.0), "3");
        assert_eq!(fmt_double(1e-7), "1e-07");
        assert_eq!(fmt_double(1.5e300), "1.5e+300");
        assert_eq!(fmt_double(0.1), "0.1");
    }
}
