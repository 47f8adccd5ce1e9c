//! JSON texts of leaves: what Python's own types are, read and written as `sessile.values` does.
//!
//! Everything with a tag, numbers of many digits, escapes of surrogates, and texts that aren't
//! JSON are declined; the caller asks `sessile.values` then.

use crate::keys;
use crate::limits::NESTED_MAX;
use crate::stop::Stop;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyNone, PyString};

/// `sessile.values.encode`.
pub(crate) fn python_encode<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
    static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ENCODE.import(py, "sessile.values", "encode")
}

/// `sessile.values.decode`.
pub(crate) fn python_decode<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
    static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    DECODE.import(py, "sessile.values", "decode")
}

/// `sessile.values.Atomic`.
pub(crate) fn python_atomic<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
    static ATOMIC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ATOMIC.import(py, "sessile.values", "Atomic")
}

/// Appends the JSON text of a value.
pub(crate) fn write(value: &Bound<'_, PyAny>, text: &mut Vec<u8>) -> Result<(), Stop> {
    write_nested(value, text, 0)
}

fn write_nested(value: &Bound<'_, PyAny>, text: &mut Vec<u8>, depth: usize) -> Result<(), Stop> {
    if let Ok(string) = value.cast_exact::<PyString>() {
        write_string(string.to_str().map_err(|_| Stop::Decline)?, text);
    } else if let Ok(boolean) = value.cast_exact::<PyBool>() {
        text.extend_from_slice(if boolean.is_true() { b"true" } else { b"false" });
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        let number: i64 = number.extract().map_err(|_| Stop::Decline)?;
        text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    } else if value.is_none() {
        text.extend_from_slice(b"null");
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        if !number.value().is_finite() {
            return Err(Stop::Decline);
        }
        text.extend_from_slice(number.repr()?.to_str()?.as_bytes());
    } else if depth >= NESTED_MAX {
        return Err(Stop::Decline);
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        write_list(list, text, depth + 1)?;
    } else {
        let dict = value.cast_exact::<PyDict>().map_err(|_| Stop::Decline)?;
        write_dict(dict, text, depth + 1)?;
    }
    Ok(())
}

fn write_list(list: &Bound<'_, PyList>, text: &mut Vec<u8>, depth: usize) -> Result<(), Stop> {
    text.push(b'[');
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        write_nested(&item, text, depth)?;
    }
    text.push(b']');
    Ok(())
}

fn write_dict(dict: &Bound<'_, PyDict>, text: &mut Vec<u8>, depth: usize) -> Result<(), Stop> {
    let single = dict.len() == 1;
    text.push(b'{');
    // No code of Python's runs in here, so the dict stays as it is.
    for (at, (key, item)) in dict.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        let key = key.cast_exact::<PyString>().map_err(|_| Stop::Decline)?;
        let key = key.to_str().map_err(|_| Stop::Decline)?;
        if single && key.starts_with('!') {
            return Err(Stop::Decline);
        }
        write_string(key, text);
        text.push(b':');
        write_nested(&item, text, depth)?;
    }
    text.push(b'}');
    Ok(())
}

fn write_string(string: &str, text: &mut Vec<u8>) {
    text.push(b'"');
    if !string.bytes().any(is_escaped) {
        text.extend_from_slice(string.as_bytes());
    } else {
        for byte in string.bytes() {
            match byte {
                b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
                b'\n' => text.extend_from_slice(b"\\n"),
                b'\r' => text.extend_from_slice(b"\\r"),
                b'\t' => text.extend_from_slice(b"\\t"),
                0x08 => text.extend_from_slice(b"\\b"),
                0x0c => text.extend_from_slice(b"\\f"),
                _ if byte < 0x20 => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => text.push(byte),
            }
        }
    }
    text.push(b'"');
}

fn holds_escaped(bytes: &[u8; 8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | is_escaped(byte))
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The value of a JSON text.
pub(crate) fn read<'py>(py: Python<'py>, text: &[u8]) -> Result<Bound<'py, PyAny>, Stop> {
    let mut reader = Reader { py, text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { Err(Stop::Decline) }
}

struct Reader<'a, 'py> {
    py: Python<'py>,
    text: &'a [u8],
    at: usize,
}

impl<'py> Reader<'_, 'py> {
    fn value(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, Stop> {
        let py = self.py;
        self.space();
        match self.peek() {
            b'"' => Ok(self.string()?.into_any()),
            b'-' | b'0'..=b'9' => self.number(),
            b'[' | b'{' if depth >= NESTED_MAX => Err(Stop::Decline),
            b'[' => self.list(depth + 1),
            b'{' => self.dict(depth + 1),
            b't' => self.word(b"true", PyBool::new(py, true).to_owned().into_any()),
            b'f' => self.word(b"false", PyBool::new(py, false).to_owned().into_any()),
            b'n' => self.word(b"null", PyNone::get(py).to_owned().into_any()),
            _ => Err(Stop::Decline),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, Stop> {
        let list = PyList::empty(self.py);
        self.at += 1;
        if self.next_is(b']') {
            return Ok(list.into_any());
        }
        loop {
            list.append(self.value(depth)?)?;
            if self.next_is(b']') {
                return Ok(list.into_any());
            }
            self.expect(b',')?;
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, Stop> {
        let dict = PyDict::new(self.py);
        self.at += 1;
        if self.next_is(b'}') {
            return Ok(dict.into_any());
        }
        let tagged = self.text.get(self.at..self.at + 2) == Some(b"\"!");
        loop {
            self.space();
            if self.peek() != b'"' {
                return Err(Stop::Decline);
            }
            let key = self.string()?;
            self.expect(b':')?;
            dict.set_item(key, self.value(depth)?)?;
            if self.next_is(b'}') {
                // One key that begins with `!` is a tag.
                return if tagged && dict.len() == 1 {
                    Err(Stop::Decline)
                } else {
                    Ok(dict.into_any())
                };
            }
            self.expect(b',')?;
        }
    }

    fn number(&mut self) -> Result<Bound<'py, PyAny>, Stop> {
        let start = self.at;
        self.at += usize::from(self.peek() == b'-');
        let zero = self.peek() == b'0';
        let whole = self.digits();
        if whole == 0 || (zero && whole > 1) {
            return Err(Stop::Decline);
        }
        let mut is_whole = true;
        if self.peek() == b'.' {
            self.at += 1;
            is_whole = false;
            if self.digits() == 0 {
                return Err(Stop::Decline);
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            is_whole = false;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            if self.digits() == 0 {
                return Err(Stop::Decline);
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let text = str::from_utf8(text).map_err(|_| Stop::Decline)?;
        if is_whole {
            let number: i64 = text.parse().map_err(|_| Stop::Decline)?;
            return Ok(number.into_pyobject(self.py).map_err(PyErr::from)?.into_any());
        }
        let number: f64 = text.parse().map_err(|_| Stop::Decline)?;
        Ok(PyFloat::new(self.py, number).into_any())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }

    fn string(&mut self) -> Result<Bound<'py, PyString>, Stop> {
        let start = self.at + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        // Eight bytes at once, for which there are instructions.
        let plain = rest.as_chunks().0.iter().take_while(|bytes| !holds_escaped(bytes)).count() * 8;
        let behind = rest.get(plain..).unwrap_or_default();
        let length = behind.iter().position(|&byte| is_escaped(byte)).ok_or(Stop::Decline)?;
        let length = plain + length;
        self.at = start + length;
        let plain = self.text.get(start..self.at).unwrap_or_default();
        if self.peek() == b'"' {
            self.at += 1;
            return keys::string(self.py, plain);
        }
        let mut text = plain.to_vec();
        loop {
            let byte = self.take()?;
            match byte {
                b'"' => break,
                b'\\' => text.push(match self.take()? {
                    byte @ (b'"' | b'\\' | b'/') => byte,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    _ => return Err(Stop::Decline),
                }),
                _ if byte < 0x20 => return Err(Stop::Decline),
                _ => text.push(byte),
            }
        }
        keys::string(self.py, &text)
    }

    fn word(&mut self, word: &[u8], value: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>, Stop> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(Stop::Decline);
        }
        self.at += word.len();
        Ok(value)
    }

    /// The next byte; 0 at the end, which no JSON text has outside of errors.
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self) -> Result<u8, Stop> {
        let byte = *self.text.get(self.at).ok_or(Stop::Decline)?;
        self.at += 1;
        Ok(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Takes this byte, after white space, if it's the next.
    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == byte;
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.next_is(byte) { Ok(()) } else { Err(Stop::Decline) }
    }
}
