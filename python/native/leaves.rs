//! Leaves as they were loaded or saved: names, JSON texts and stamps, in the order of the document.

use crate::limits::{STAMP_DIGITS, UNORDERED};
use crate::stop::{Stop, answer};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// What stands for an empty dict.
pub(crate) const MARKER: &[u8] = b"{}";
/// What names begin with that are no leaves: those of engines, and those of sessions.
const NOTES: [&[u8]; 2] = [b"\\!", b"\\@"];

/// One leaf. It holds the very objects that the engine gave, so nothing is copied.
pub(crate) struct Leaf {
    pub(crate) name: Py<PyBytes>,
    pub(crate) stamp: u64,
    value: Py<PyBytes>,
    text_length: usize,
}

impl Leaf {
    pub(crate) fn name<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.name.as_bytes(py)
    }

    /// The JSON text.
    pub(crate) fn text<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        let value = self.value.as_bytes(py);
        value.get(..self.text_length).unwrap_or(value)
    }

    /// Whether a dict that stands here is one leaf.
    pub(crate) fn is_whole(&self, py: Python<'_>) -> bool {
        let text = self.text(py);
        text.starts_with(b"{") && text != MARKER
    }
}

/// The leaves of a session. Sorted by stamp, and by name where stamps are the same.
#[pyclass(frozen, module = "sessile._native")]
pub(crate) struct Leaves {
    pub(crate) all: Vec<Leaf>,
    /// Larger than every stamp.
    #[pyo3(get)]
    next_stamp: u64,
    /// How many of them are markers of empty dicts.
    pub(crate) markers: usize,
    /// How many may be dicts that are one leaf.
    pub(crate) wholes: usize,
}

#[pymethods]
impl Leaves {
    /// The leaves among the fields of a session; `None` if those aren't bytes in a dict.
    #[staticmethod]
    fn of(py: Python<'_>, fields: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        answer(Self::read(py, fields))
    }

    /// By name: the JSON text and the stamp.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let items = PyDict::new(py);
        for leaf in &self.all {
            items.set_item(&leaf.name, (PyBytes::new(py, leaf.text(py)), leaf.stamp))?;
        }
        Ok(items)
    }
}

impl Leaves {
    pub(crate) fn read(py: Python<'_>, fields: &Bound<'_, PyAny>) -> Result<Self, Stop> {
        let fields = fields.cast_exact::<PyDict>().map_err(|_| Stop::Decline)?;
        let mut leaves =
            Self { all: Vec::with_capacity(fields.len()), next_stamp: 0, markers: 0, wholes: 0 };
        for (name, value) in fields.iter() {
            let name = name.cast_into_exact::<PyBytes>().map_err(|_| Stop::Decline)?;
            if NOTES.iter().any(|note| name.as_bytes().starts_with(note)) {
                continue;
            }
            let value = value.cast_into_exact::<PyBytes>().map_err(|_| Stop::Decline)?;
            let (text_length, stamp) = taken_apart(value.as_bytes());
            if stamp < UNORDERED {
                leaves.next_stamp = leaves.next_stamp.max(stamp + 1);
            }
            let leaf = Leaf { name: name.unbind(), stamp, value: value.unbind(), text_length };
            leaves.markers += usize::from(leaf.text(py) == MARKER);
            leaves.wholes += usize::from(leaf.is_whole(py));
            leaves.all.push(leaf);
        }
        leaves.all.sort_unstable_by(|a, b| {
            a.stamp.cmp(&b.stamp).then_with(|| a.name(py).cmp(b.name(py)))
        });
        Ok(leaves)
    }

    pub(crate) fn next_stamp(&self) -> u64 {
        self.next_stamp
    }
}

/// The length of a leaf's text, and its stamp.
fn taken_apart(value: &[u8]) -> (usize, u64) {
    let mut stamp = 0;
    let mut scale = 1;
    for (digits, &byte) in value.iter().rev().take(STAMP_DIGITS + 1).enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            b' ' if digits > 0 && digits + 1 < value.len() => {
                return (value.len() - digits - 1, stamp);
            }
            _ => break,
        };
        if digits < STAMP_DIGITS {
            stamp += u64::from(digit) * scale;
            scale = scale.saturating_mul(36);
        }
    }
    (value.len(), UNORDERED)
}

/// Appends a stamp as it's stored: a space and its digits; nothing for what has no order.
pub(crate) fn write_stamp(stamp: u64, leaf: &mut Vec<u8>) {
    if stamp >= UNORDERED {
        return;
    }
    leaf.push(b' ');
    let start = leaf.len();
    let mut rest = stamp;
    loop {
        // The remainder is less than 36.
        let digit = u8::try_from(rest % 36).unwrap_or(0);
        leaf.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = leaf.get_mut(start..) {
        digits.reverse();
    }
}
