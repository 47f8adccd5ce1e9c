//! How a patch is merged into the leaves of a session.
//!
//! Fields are the leaves of a document: names are paths whose components are joined by dots (a dot
//! or backslash inside one is escaped by a backslash), values are JSON texts, each perhaps with an
//! order stamp.
//! What always holds: the parts of a patch are applied in the order in which [`Patch`] lists
//! them; no leaf that the patch sets keeps another leaf above or below it, but for the markers of
//! empty dicts (`{}`); what can't be applied is an error, and nothing is changed then.
//! Not for: changing the session. Whoever asks applies what is answered.

use super::json;
use crate::failure::Failure;
use engine::hash::{Field, HashView};
use protocol::args::Args;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Up to so many parts of a patch look at all fields one by one; for more they are sorted once.
const FEW: usize = 4;
/// What the leaf of an empty dict holds.
const MARKER: &[u8] = b"{}";

const NOT_A_NUMBER: Failure = Failure::text("ERR field is not a number");
const NOT_A_LIST: Failure = Failure::text("ERR field is not a list");
const TOO_LARGE: Failure = Failure::text("ERR number would be too large");
const NOT_JSON: Failure = Failure::text("ERR PUSH needs a JSON value");
const BAD_ADDEND: Failure = Failure::text("ERR INCR needs numbers");

/// Some arguments that stand together.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// The first of them and all that follow.
    args: Args<'a>,
    len: usize,
}

impl<'a> List<'a> {
    /// The first `len` of `args`.
    pub const fn new(args: Args<'a>, len: usize) -> Self {
        Self { args, len }
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The arguments.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len).map(move |i| self.args.at(i))
    }

    /// The arguments two by two.
    pub fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        (0..self.len / 2).map(move |i| (self.args.at(2 * i), self.args.at(2 * i + 1)))
    }
}

/// A value to append to a list.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The leaf.
    pub field: &'a [u8],
    /// The value, a JSON text.
    pub value: &'a [u8],
    /// How many of the last elements are kept.
    pub trim: Option<usize>,
}

/// What a request changes.
#[derive(Clone, Debug)]
pub struct Patch<'a> {
    /// Paths that go with everything below; the empty one is the whole document.
    pub delete_trees: List<'a>,
    /// Leaves that go.
    pub delete: List<'a>,
    /// Leaves and their values.
    pub set: List<'a>,
    /// Leaves that are set only where nothing is.
    pub init: List<'a>,
    /// Leaves and what is added to them.
    pub increment: List<'a>,
    /// What is appended to lists.
    pub push: SmallVec<[Push<'a>; 1]>,
}

impl<'a> Patch<'a> {
    /// Nothing, of a request of these arguments.
    pub fn new(args: Args<'a>) -> Self {
        let none = List::new(args, 0);
        Self {
            delete_trees: none,
            delete: none,
            set: none,
            init: none,
            increment: none,
            push: SmallVec::new(),
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.parts() + self.delete.len() == 0
    }

    /// How many parts look at what is below.
    fn parts(&self) -> usize {
        let [trees, set, init, increment] =
            [self.delete_trees, self.set, self.init, self.increment].map(List::len);
        trees + set + init + increment + self.push.len()
    }
}

/// The leaves that are other than before: their values, or none for those that are gone.
pub type Changed<'a> = BTreeMap<Cow<'a, [u8]>, Option<Cow<'a, [u8]>>>;

/// What a patch makes of the fields that are there at `now`.
///
/// # Errors
/// If something is added to what is no number, or appended to what is no list.
pub fn merge<'a>(
    hash: Option<HashView<'_>>,
    patch: &Patch<'a>,
    now: u64,
) -> Result<Changed<'a>, Failure> {
    let mut merge = Merge::new(hash, patch.parts() > FEW, now);
    for path in patch.delete_trees.iter() {
        merge.delete_tree(path);
    }
    for field in patch.delete.iter() {
        merge.delete(field);
    }
    for (field, value) in patch.set.pairs() {
        merge.put(field, Cow::Borrowed(value));
    }
    for (field, value) in patch.init.pairs() {
        if merge.value(field).is_none() && !merge.has_below(field) {
            merge.put(field, Cow::Borrowed(value));
        }
    }
    for (field, by) in patch.increment.pairs() {
        let sum = add(merge.value(field).unwrap_or(b"0"), by)?;
        merge.put(field, Cow::Owned(sum));
    }
    for push in &patch.push {
        let list = append(merge.value(push.field).unwrap_or(b"[]"), push)?;
        merge.put(push.field, Cow::Owned(list));
    }
    Ok(merge.changed)
}

struct Merge<'s, 'a> {
    hash: Option<HashView<'s>>,
    now: u64,
    /// All fields by name, if many parts ask what is below.
    sorted: Option<Vec<&'s [u8]>>,
    changed: Changed<'a>,
}

impl<'s, 'a> Merge<'s, 'a> {
    fn new(hash: Option<HashView<'s>>, sort: bool, now: u64) -> Self {
        let mut merge = Self { hash, now, sorted: None, changed: Changed::new() };
        if sort {
            let mut names: Vec<&[u8]> = merge.fields().map(|field| field.name).collect();
            names.sort_unstable();
            merge.sorted = Some(names);
        }
        merge
    }

    fn fields(&self) -> impl Iterator<Item = Field<'s>> + use<'s> {
        let now = self.now;
        self.hash.into_iter().flat_map(move |hash| hash.iter(now))
    }

    fn value(&self, field: &[u8]) -> Option<&[u8]> {
        match self.changed.get(field) {
            Some(value) => value.as_deref(),
            None => self.hash?.get(field, self.now).map(|field| field.value),
        }
    }

    fn delete(&mut self, field: &'a [u8]) {
        if self.value(field).is_some() {
            self.changed.insert(Cow::Borrowed(field), None);
        }
    }

    fn delete_tree(&mut self, path: &'a [u8]) {
        if path.is_empty() {
            let names: Vec<Vec<u8>> = self.fields().map(|field| field.name.to_vec()).collect();
            self.changed.clear();
            self.changed.extend(names.into_iter().map(|name| (Cow::Owned(name), None)));
            return;
        }
        self.delete(path);
        self.delete_below(path);
    }

    /// Sets a leaf. What is below goes, and what is above, unless that is the marker of a dict. A
    /// marker takes nothing away: it isn't set where a value stands, or below one.
    fn put(&mut self, field: &'a [u8], value: Cow<'a, [u8]>) {
        let dots = (0..field.len()).filter(|at| is_dot(field, *at));
        let mut above = dots.map(|dot| field.get(..dot).unwrap_or_default());
        if json::split(&value).0 == MARKER {
            if self.has_value(field) || above.any(|name| self.has_value(name)) {
                return;
            }
        } else {
            self.delete_below(field);
            for name in above {
                if self.has_value(name) {
                    self.changed.insert(Cow::Borrowed(name), None);
                }
            }
        }
        self.changed.insert(Cow::Borrowed(field), Some(value));
    }

    /// Whether there is a leaf that's no marker.
    fn has_value(&self, name: &[u8]) -> bool {
        self.value(name).is_some_and(|value| json::split(value).0 != MARKER)
    }

    fn delete_below(&mut self, path: &[u8]) {
        for name in self.below(path) {
            self.changed.insert(Cow::Owned(name), None);
        }
    }

    fn has_below(&self, path: &[u8]) -> bool {
        !self.below(path).is_empty()
    }

    /// The leaves below a path.
    fn below(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let is_below =
            |name: &[u8]| name.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'.'));
        let stays = |name: &&[u8]| !matches!(self.changed.get(*name), Some(None));
        let mut found: Vec<Vec<u8>> = match &self.sorted {
            Some(names) => {
                let start = names.partition_point(|name| name.cmp(&path).is_lt());
                // Between a path and what is below it stand names such as `path-x`.
                let near = names.iter().skip(start).take_while(|name| name.starts_with(path));
                near.copied()
                    .filter(|name| is_below(name))
                    .filter(stays)
                    .map(<[u8]>::to_vec)
                    .collect()
            }
            None => {
                let names = self.fields().map(|field| field.name);
                names.filter(|name| is_below(name)).filter(stays).map(<[u8]>::to_vec).collect()
            }
        };
        let made = self
            .changed
            .range::<[u8], _>((std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded));
        let made = made.take_while(|(name, _)| name.starts_with(path));
        let made = made.filter(|(name, value)| value.is_some() && is_below(name));
        found.extend(made.map(|(name, _)| name.to_vec()));
        found
    }
}

/// Whether a dot that joins components stands there.
fn is_dot(path: &[u8], at: usize) -> bool {
    let before = path.get(..at).unwrap_or_default();
    let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    path.get(at) == Some(&b'.') && escapes.is_multiple_of(2)
}

/// A leaf with a number added: whole numbers stay exact, up to 64 bits.
fn add(leaf: &[u8], by: &[u8]) -> Result<Vec<u8>, Failure> {
    let (text, stamp) = json::split(leaf);
    let whole = json::number(text).ok_or(NOT_A_NUMBER)? & json::number(by).ok_or(BAD_ADDEND)?;
    let texts = str::from_utf8(text).ok().zip(str::from_utf8(by).ok());
    let (text, by) = texts.ok_or(NOT_A_NUMBER)?;
    let sum = if whole {
        let parts: Option<(i128, i128)> = text.parse().ok().zip(by.parse().ok());
        let sum = parts.and_then(|(a, b)| a.checked_add(b)).ok_or(TOO_LARGE)?;
        if sum.unsigned_abs() > i64::MAX.unsigned_abs().into() {
            return Err(TOO_LARGE);
        }
        sum.to_string()
    } else {
        let parts: Option<(f64, f64)> = text.parse().ok().zip(by.parse().ok());
        let sum = parts.map(|(a, b)| a + b).filter(|sum| sum.is_finite()).ok_or(TOO_LARGE)?;
        json::float_text(sum)
    };
    Ok([sum.as_bytes(), stamp].concat())
}

/// A leaf that is a list with a value appended, and only the last elements if that is asked for.
fn append(leaf: &[u8], push: &Push<'_>) -> Result<Vec<u8>, Failure> {
    let (text, stamp) = json::split(leaf);
    let elements = json::elements(text).ok_or(NOT_A_LIST)?;
    if !json::is_value(push.value) {
        return Err(NOT_JSON);
    }
    let mut list = Vec::with_capacity(leaf.len() + push.value.len() + 1);
    match push.trim {
        None => {
            let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().trim_ascii();
            list.push(b'[');
            list.extend_from_slice(inner);
            if !inner.is_empty() {
                list.push(b',');
            }
            list.extend_from_slice(push.value);
        }
        Some(trim) => {
            let all = elements.len() + 1;
            let kept = elements.into_iter().chain([push.value]).skip(all.saturating_sub(trim));
            list.push(b'[');
            for (i, element) in kept.enumerate() {
                if i > 0 {
                    list.push(b',');
                }
                list.extend_from_slice(element);
            }
        }
    }
    list.push(b']');
    list.extend_from_slice(stamp);
    Ok(list)
}
