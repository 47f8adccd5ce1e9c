//! Replies of RESP2, cut out of the bytes that came, and lists of names and values as dicts.
//!
//! Whole replies of numbers, strings and arrays are read here. Statuses, errors, what isn't all
//! there and what isn't a reply are declined: `sessile.wire` has the rules, and its errors.

use crate::limits::{BULK_MAX, DIGITS_MAX, ITEMS_MAX, NESTED_REPLIES_MAX};
use crate::stop::{Stop, answer};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

/// The first reply in these bytes and where it ends, or `None`.
#[pyfunction]
pub(crate) fn reply<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyBytes>,
) -> PyResult<Option<(Bound<'py, PyAny>, usize)>> {
    let mut reader = Reader { py, data: data.as_bytes(), at: 0 };
    answer(reader.read(0).map(|reply| (reply, reader.at)))
}

/// What a list of names and values says, by name; `None` if it isn't one of bytes and bytes.
#[pyfunction]
pub(crate) fn paired<'py>(
    py: Python<'py>,
    items: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    answer(by_name(py, items))
}

fn by_name<'py>(py: Python<'py>, items: &Bound<'py, PyAny>) -> Result<Bound<'py, PyDict>, Stop> {
    let items = items.cast_exact::<PyList>().map_err(|_| Stop::Decline)?;
    let found = PyDict::new(py);
    let mut items = items.iter();
    while let Some(name) = items.next() {
        let name = name.cast_into_exact::<PyBytes>().map_err(|_| Stop::Decline)?;
        let value = items.next().ok_or(Stop::Decline)?;
        let value = value.cast_into_exact::<PyBytes>().map_err(|_| Stop::Decline)?;
        found.set_item(name, value)?;
    }
    Ok(found)
}

struct Reader<'a, 'py> {
    py: Python<'py>,
    data: &'a [u8],
    at: usize,
}

impl<'py> Reader<'_, 'py> {
    fn read(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, Stop> {
        let (kind, number) = self.line()?;
        match kind {
            b':' => Ok(number.into_pyobject(self.py).map_err(PyErr::from)?.into_any()),
            b'$' | b'*' if number < 0 => Ok(self.py.None().into_bound(self.py)),
            b'$' => self.bulk(number).map(Bound::into_any),
            b'*' if number <= ITEMS_MAX && depth < NESTED_REPLIES_MAX => {
                let items = PyList::empty(self.py);
                for _ in 0..number {
                    items.append(self.read(depth + 1)?)?;
                }
                Ok(items.into_any())
            }
            _ => Err(Stop::Decline),
        }
    }

    /// The kind and the number of the line that begins here; what comes next stands after it.
    fn line(&mut self) -> Result<(u8, i64), Stop> {
        let (&kind, mut rest) =
            self.data.get(self.at..).and_then(<[u8]>::split_first).ok_or(Stop::Decline)?;
        let minus = rest.first() == Some(&b'-');
        if minus {
            rest = rest.get(1..).unwrap_or_default();
        }
        let (mut number, mut digits) = (0_i64, 0_usize);
        for &byte in rest.iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()) {
            // So few digits are less than 2^63.
            number = number.wrapping_mul(10).wrapping_add(i64::from(byte & 15));
            digits += 1;
        }
        let is_plain = matches!(kind, b':' | b'$' | b'*') && digits > 0;
        if !is_plain || rest.get(digits..digits + 2) != Some(b"\r\n") {
            return Err(Stop::Decline);
        }
        self.at += 1 + usize::from(minus) + digits + 2;
        Ok((kind, if minus { -number } else { number }))
    }

    fn bulk(&mut self, length: i64) -> Result<Bound<'py, PyBytes>, Stop> {
        let length = usize::try_from(length).map_err(|_| Stop::Decline)?;
        if length > BULK_MAX {
            return Err(Stop::Decline);
        }
        let end = self.at + length;
        let found = match self.data.get(self.at..end + 2) {
            Some(there) => there.get(..length).unwrap_or_default(),
            None => return Err(Stop::Decline),
        };
        self.at = end + 2;
        Ok(PyBytes::new(self.py, found))
    }
}
