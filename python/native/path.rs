//! Components of paths, as in `sessile.paths`: strings and integers, escaped and joined by dots.

use crate::keys::Keys;
use crate::stop::Stop;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

/// Appends the name of a key.
pub(crate) fn write(key: &Bound<'_, PyAny>, name: &mut Vec<u8>) -> Result<(), Stop> {
    if let Ok(text) = key.cast_exact::<PyString>() {
        // Half a surrogate pair has no bytes.
        let text = text.to_str().map_err(|_| Stop::Decline)?;
        if text.is_empty() {
            name.extend_from_slice(b"\\e");
        } else if text.bytes().any(is_special) {
            for byte in text.bytes() {
                if is_special(byte) {
                    name.push(b'\\');
                }
                name.push(byte);
            }
        } else {
            name.extend_from_slice(text.as_bytes());
        }
        return Ok(());
    }
    let number = key.cast_exact::<PyInt>().map_err(|_| Stop::Decline)?;
    let number: i64 = number.extract().map_err(|_| Stop::Decline)?;
    name.extend_from_slice(b"\\i");
    name.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    Ok(())
}

/// Where the component that begins at `start` ends: at a dot or at the end of the name.
pub(crate) fn end_of(name: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(byte) = name.get(at) {
        match byte {
            b'.' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    name.len()
}

/// The key that a component names. What isn't written as it would be written here is declined.
pub(crate) fn read<'py>(
    py: Python<'py>,
    keys: &mut Keys,
    part: &[u8],
) -> Result<Bound<'py, PyAny>, Stop> {
    if part.is_empty() {
        return Err(Stop::Decline);
    }
    if !part.contains(&b'\\') {
        return Ok(keys.string(py, part)?.into_any());
    }
    if part == b"\\e" {
        return Ok(keys.string(py, b"")?.into_any());
    }
    if let Some(digits) = part.strip_prefix(b"\\i") {
        let digits = str::from_utf8(digits).map_err(|_| Stop::Decline)?;
        let number: i64 = digits.parse().map_err(|_| Stop::Decline)?;
        if itoa::Buffer::new().format(number) != digits {
            return Err(Stop::Decline);
        }
        return Ok(number.into_pyobject(py).map_err(PyErr::from)?.into_any());
    }
    let mut text = Vec::with_capacity(part.len());
    let mut bytes = part.iter();
    while let Some(&byte) = bytes.next() {
        let literal =
            if byte == b'\\' { bytes.next().filter(|&&b| is_special(b)) } else { Some(&byte) };
        text.push(*literal.ok_or(Stop::Decline)?);
    }
    Ok(keys.string(py, &text)?.into_any())
}

/// Declines a name that isn't a path's from the end of one of its components on: it's a field of
/// somebody else's, and nothing that could be deleted.
pub(crate) fn check(py: Python<'_>, keys: &mut Keys, name: &[u8], end: usize) -> Result<(), Stop> {
    let mut end = end;
    while end < name.len() {
        let start = end + 1;
        end = end_of(name, start);
        read(py, keys, name.get(start..end).unwrap_or_default())?;
    }
    Ok(())
}

fn is_special(byte: u8) -> bool {
    byte == b'\\' || byte == b'.'
}
