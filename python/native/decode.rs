//! Leaves to a document.

use crate::json;
use crate::keys::Keys;
use crate::leaves::{Leaves, MARKER};
use crate::path;
use crate::stop::{Stop, answer};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// The document of a session's fields and its leaves, or `None`.
#[pyfunction]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    fields: &Bound<'py, PyAny>,
) -> PyResult<Option<(Bound<'py, PyDict>, Leaves)>> {
    answer(read(py, fields))
}

fn read<'py>(
    py: Python<'py>,
    fields: &Bound<'py, PyAny>,
) -> Result<(Bound<'py, PyDict>, Leaves), Stop> {
    let leaves = Leaves::read(py, fields)?;
    let document = PyDict::new(py);
    let mut placer =
        Placer { py, keys: Keys::new(), document: &document, last: b"", open: Vec::new() };
    for leaf in &leaves.all {
        placer.place(leaf.name(py), leaf.text(py))?;
    }
    drop(placer);
    Ok((document, leaves))
}

/// Puts leaves into a document. The dicts that lead to the last one are kept at hand, as most
/// leaves stand beside the one before.
struct Placer<'a, 'py> {
    py: Python<'py>,
    keys: Keys,
    document: &'a Bound<'py, PyDict>,
    last: &'a [u8],
    /// For each dict on the way to the last leaf: the length of its name, and the dict.
    open: Vec<(usize, Bound<'py, PyDict>)>,
}

impl<'a, 'py> Placer<'a, 'py> {
    fn place(&mut self, name: &'a [u8], text: &'a [u8]) -> Result<(), Stop> {
        let shared = self.last.iter().zip(name).take_while(|(a, b)| a == b).count();
        while self.open.last().is_some_and(|(length, _)| *length >= shared) {
            self.open.pop();
        }
        self.last = name;
        let mut start = self.open.last().map_or(0, |(length, _)| length + 1);
        loop {
            let end = path::end_of(name, start);
            let key =
                path::read(self.py, &mut self.keys, name.get(start..end).unwrap_or_default())?;
            let here = self.open.last().map_or(self.document, |(_, dict)| dict);
            if end >= name.len() {
                return set(self.py, here, &key, text);
            }
            let below = match here.get_item(&key)?.map(Bound::cast_into_exact::<PyDict>) {
                Some(Ok(below)) => below,
                _ => {
                    let below = PyDict::new(self.py);
                    here.set_item(&key, &below)?;
                    below
                }
            };
            self.open.push((end, below));
            start = end + 1;
        }
    }
}

/// Sets a leaf in its dict. A marker beside children means nothing.
fn set<'py>(
    py: Python<'py>,
    here: &Bound<'py, PyDict>,
    key: &Bound<'py, PyAny>,
    text: &[u8],
) -> Result<(), Stop> {
    if text == MARKER {
        if here.get_item(key)?.is_none() {
            here.set_item(key, PyDict::new(py))?;
        }
        return Ok(());
    }
    let value = match json::read(py, text) {
        Ok(value) => value,
        Err(Stop::Decline) => json::python_decode(py)?.call1((PyBytes::new(py, text),))?,
        Err(raised) => return Err(raised),
    };
    let before = here.len();
    here.set_item(key, value)?;
    // A leaf in the place of another's dict: Python says which of them counts.
    if here.len() == before { Err(Stop::Decline) } else { Ok(()) }
}
