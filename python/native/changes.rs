//! A document that may have been changed, to the leaves that have to be set or deleted.
//!
//! The walk goes through the document in its order and through the leaves beside it. As leaves are
//! sorted by their places, the rank of a known leaf is its index, and new ones rank behind all:
//! the order is kept if ranks rise from sibling to sibling. Where they don't, or where something
//! new stands in the place of something else, Python takes over.

use crate::json;
use crate::keys::Keys;
use crate::leaves::{Leaf, Leaves, MARKER, write_stamp};
use crate::limits::{DEPTH_MAX, FRESH_MAX, LEAVES_MAX, PATH_MAX, UNORDERED};
use crate::path;
use crate::stop::{Stop, answer};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use std::collections::{BTreeSet, HashMap};

/// What is set, what is deleted, and what is deleted with all below it.
type Patch<'py> = (Bound<'py, PyDict>, Vec<Bound<'py, PyBytes>>);

/// Leaves that are looked at before an index is made.
const NEAR: usize = 16;

/// The leaves to set, by name, and the trees to delete, or `None`. `is_atomic` is asked for each
/// dict, if it's given.
#[pyfunction]
pub(crate) fn changes<'py>(
    py: Python<'py>,
    leaves: &Leaves,
    document: &Bound<'py, PyAny>,
    is_atomic: Option<Bound<'py, PyAny>>,
    size_max: Option<usize>,
) -> PyResult<Option<Patch<'py>>> {
    answer(compare(py, leaves, document, is_atomic, size_max))
}

fn compare<'py>(
    py: Python<'py>,
    leaves: &Leaves,
    document: &Bound<'py, PyAny>,
    is_atomic: Option<Bound<'py, PyAny>>,
    size_max: Option<usize>,
) -> Result<Patch<'py>, Stop> {
    let document = document.cast_exact::<PyDict>().map_err(|_| Stop::Decline)?;
    let mut walk = Walk {
        py,
        leaves,
        is_atomic,
        set: PyDict::new(py),
        cursor: 0,
        index: None,
        name: Vec::with_capacity(64),
        text: Vec::with_capacity(256),
        path: Vec::new(),
        entries: Vec::with_capacity(document.len()),
        is_matched: vec![false; leaves.all.len()],
        matched: 0,
        fresh: 0,
        count: 0,
        size: 0,
    };
    walk.children(document)?;
    let too_large = size_max.is_some_and(|most| walk.size > most);
    if walk.count > LEAVES_MAX || too_large {
        return Err(Stop::Decline);
    }
    let trees = walk.gone(document)?;
    let trees = trees.into_iter().map(|tree| PyBytes::new(py, tree)).collect();
    Ok((walk.set, trees))
}

/// What a child turned out to be.
struct Child {
    /// The place of its first leaf among all.
    rank: usize,
    /// Whether its first leaf is new.
    is_new: bool,
}

struct Walk<'a, 'py> {
    py: Python<'py>,
    leaves: &'a Leaves,
    is_atomic: Option<Bound<'py, PyAny>>,
    set: Bound<'py, PyDict>,
    /// Where the next leaf is expected among those known.
    cursor: usize,
    index: Option<HashMap<&'a [u8], usize>>,
    /// The name of the path where the walk is.
    name: Vec<u8>,
    /// Scratch for the JSON text of one leaf.
    text: Vec<u8>,
    path: Vec<Bound<'py, PyAny>>,
    /// The entries of the dicts on the path. Python code that is called for one leaf may change
    /// dicts, so none is iterated in the meantime.
    entries: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    /// Which of the known leaves are there still, and how many.
    is_matched: Vec<bool>,
    matched: usize,
    fresh: usize,
    count: usize,
    size: usize,
}

impl<'a, 'py> Walk<'a, 'py>
where
    'py: 'a,
{
    /// Takes in all below a dict; what its first child is.
    fn children(&mut self, dict: &Bound<'py, PyDict>) -> Result<Option<Child>, Stop> {
        if self.path.len() >= DEPTH_MAX {
            return Err(Stop::Decline);
        }
        let start = self.entries.len();
        let length = self.name.len();
        self.entries.extend(dict.iter());
        let end = self.entries.len();
        let mut first = None;
        let mut last = None;
        for at in start..end {
            let (key, value) = self.entries.get(at).cloned().ok_or(Stop::Decline)?;
            if !self.path.is_empty() {
                self.name.push(b'.');
            }
            path::write(&key, &mut self.name)?;
            if self.name.len() > PATH_MAX {
                return Err(Stop::Decline);
            }
            self.path.push(key);
            let child = self.child(&value)?;
            if child.is_new && self.has_leaves_here() {
                return Err(Stop::Decline);
            }
            if last.is_some_and(|last| child.rank <= last) {
                return Err(Stop::Decline);
            }
            last = Some(child.rank);
            first = first.or(Some(child));
            self.path.pop();
            self.name.truncate(length);
        }
        self.entries.truncate(start);
        Ok(first)
    }

    fn child(&mut self, value: &Bound<'py, PyAny>) -> Result<Child, Stop> {
        self.text.clear();
        let Ok(dict) = value.cast_exact::<PyDict>() else {
            self.write(value)?;
            return self.leaf();
        };
        if self.is_leaf(dict)? {
            self.write(value)?;
            return self.leaf();
        }
        let Some(mut child) = self.children(dict)? else {
            self.text.extend_from_slice(MARKER);
            return self.leaf();
        };
        if self.leaves.markers > 0
            && let Some((rank, leaf)) = self.find()
            && leaf.text(self.py) == MARKER
        {
            self.matches(rank);
            if rank < child.rank {
                child.rank = rank;
            }
        }
        Ok(child)
    }

    /// Takes in one leaf, whose text has been written.
    fn leaf(&mut self) -> Result<Child, Stop> {
        self.count += 1;
        self.size += self.name.len() + self.text.len();
        if let Some((rank, leaf)) = self.find() {
            self.matches(rank);
            self.cursor = rank + 1;
            if leaf.text(self.py) != self.text && !self.is_rewritten(leaf)? {
                if self.text == MARKER {
                    return Err(Stop::Decline);
                }
                self.set_leaf(leaf.stamp)?;
            }
            return Ok(Child { rank, is_new: false });
        }
        let known = self.leaves.all.len();
        let stamp = self.leaves.next_stamp() + self.fresh as u64;
        let unordered = self.leaves.all.last().is_some_and(|leaf| leaf.stamp >= UNORDERED);
        if stamp >= UNORDERED || unordered || (known > 0 && self.fresh >= FRESH_MAX) {
            return Err(Stop::Decline);
        }
        let rank = known + self.fresh;
        self.fresh += 1;
        self.set_leaf(stamp)?;
        Ok(Child { rank, is_new: true })
    }

    fn matches(&mut self, rank: usize) {
        if let Some(is_matched) = self.is_matched.get_mut(rank) {
            self.matched += usize::from(!*is_matched);
            *is_matched = true;
        }
    }

    /// The tops of what isn't there any more. A leaf goes as a tree as well: in the meantime another
    /// request may have made it a dict.
    fn gone(&self, document: &Bound<'py, PyDict>) -> Result<BTreeSet<&'a [u8]>, Stop> {
        let mut trees = BTreeSet::new();
        if self.matched == self.leaves.all.len() {
            return Ok(trees);
        }
        let mut keys = Keys::new();
        for (leaf, _) in self.leaves.all.iter().zip(&self.is_matched).filter(|(_, there)| !**there)
        {
            trees.insert(self.first_missing(document, &mut keys, leaf.name(self.py))?);
        }
        Ok(trees)
    }

    /// How much of a name leads to the first key that isn't in the document.
    fn first_missing(
        &self,
        document: &Bound<'py, PyDict>,
        keys: &mut Keys,
        name: &'a [u8],
    ) -> Result<&'a [u8], Stop> {
        let mut here = document.clone();
        let mut start = 0;
        loop {
            let end = path::end_of(name, start);
            let key = path::read(self.py, keys, name.get(start..end).unwrap_or_default())?;
            let Some(below) = here.get_item(&key)? else {
                path::check(self.py, keys, name, end)?;
                return name.get(..end).ok_or(Stop::Decline);
            };
            let below = below.cast_into_exact::<PyDict>().map_err(|_| Stop::Decline)?;
            // An empty dict is a leaf of its own, and others may be one too: more than a deletion.
            let may_be_leaf = self.is_atomic.is_some() || name.get(start) == Some(&b'_');
            if end >= name.len() || below.is_empty() || may_be_leaf {
                return Err(Stop::Decline);
            }
            here = below;
            start = end + 1;
        }
    }

    fn set_leaf(&mut self, stamp: u64) -> Result<(), Stop> {
        write_stamp(stamp, &mut self.text);
        let name = PyBytes::new(self.py, &self.name);
        Ok(self.set.set_item(name, PyBytes::new(self.py, &self.text))?)
    }

    /// Whether a dict with these keys, at this path, is one leaf.
    fn is_leaf(&mut self, dict: &Bound<'py, PyDict>) -> Result<bool, Stop> {
        if let Some(Ok(key)) = self.path.last().map(|key| key.cast_exact::<PyString>())
            && key.to_str().is_ok_and(|key| key.starts_with('_'))
        {
            return Ok(true);
        }
        if self.leaves.wholes > 0
            && !dict.is_empty()
            && self.find().is_some_and(|(_, leaf)| leaf.is_whole(self.py))
        {
            return Ok(true);
        }
        let Some(is_atomic) = &self.is_atomic else { return Ok(false) };
        let path = PyTuple::new(self.py, &self.path)?;
        Ok(is_atomic.call1((path, dict))?.is_truthy()?)
    }

    /// Writes the JSON text of a leaf.
    fn write(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Stop> {
        match json::write(value, &mut self.text) {
            Err(Stop::Decline) => {}
            done => return done,
        }
        // A dict of another class may well be no leaf.
        if value.is_instance_of::<PyDict>()
            && value.cast_exact::<PyDict>().is_err()
            && !value.get_type().is(json::python_atomic(self.py)?)
        {
            return Err(Stop::Decline);
        }
        let path = PyTuple::new(self.py, &self.path)?;
        let text = json::python_encode(self.py)?.call1((value, path))?;
        let text = text.cast_into_exact::<PyBytes>().map_err(|_| Stop::Decline)?;
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Whether a leaf that somebody else wrote holds what was written here.
    fn is_rewritten(&self, leaf: &Leaf) -> Result<bool, Stop> {
        let text = leaf.text(self.py);
        let mut again = Vec::with_capacity(text.len());
        let read = json::read(self.py, text);
        match read.and_then(|value| json::write(&value, &mut again)) {
            Ok(()) => Ok(again == self.text),
            Err(Stop::Raise(error)) => Err(Stop::Raise(error)),
            Err(Stop::Decline) => {
                let value = json::python_decode(self.py)?.call1((PyBytes::new(self.py, text),))?;
                let again = json::python_encode(self.py)?.call1((value,))?;
                let again = again.cast_into_exact::<PyBytes>().map_err(|_| Stop::Decline)?;
                Ok(again.as_bytes() == self.text)
            }
        }
    }

    /// The leaf of the name where the walk is.
    fn find(&mut self) -> Option<(usize, &'a Leaf)> {
        let (py, all) = (self.py, &self.leaves.all);
        let from = if self.cursor < all.len() { self.cursor } else { 0 };
        let near = all.iter().enumerate().skip(from).take(NEAR);
        if let Some(found) = near.into_iter().find(|(_, leaf)| leaf.name(py) == self.name) {
            return Some(found);
        }
        if all.len() <= NEAR && from == 0 {
            return None;
        }
        let index = self.index.get_or_insert_with(|| {
            all.iter().enumerate().map(|(at, leaf)| (leaf.name(py), at)).collect()
        });
        let at = *index.get(self.name.as_slice())?;
        Some((at, all.get(at)?))
    }

    /// Whether something was known at or below the path where the walk is.
    fn has_leaves_here(&self) -> bool {
        self.leaves.all.iter().any(|leaf| {
            let rest = leaf.name(self.py).strip_prefix(self.name.as_slice());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
        })
    }
}
