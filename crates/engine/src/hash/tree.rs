//! Large hashes: a counted B+tree on the heap, ordered by the hash of the field's name.
//!
//! Nodes take at most 4 KiB. Inner nodes know how many fields each subtree has and when the first and the
//! last of them end, so that a random pick, the next deadline and a cursor cost O(log n), and the
//! fields that are due are found without looking at the others. The hash is keyed: strangers
//! can't choose names that fall together.
//!
//! What always holds: [`BigHash::heap_bytes`] is what the nodes have allocated, to the byte; a
//! clone shares them, and both count them.
//! Not for: small hashes; a tree takes a leaf at least.

use layout::HashKey;

use super::entry::{Field, write_field};
use super::leaf::Leaf;
use super::node::{Node, Walk};
use super::{FieldDeadline, FieldEdit, PackedHash, SipKey, Summary};

/// A large hash.
#[derive(Clone, Debug)]
pub struct BigHash {
    key: SipKey,
    root: Node,
    heap: usize,
    /// Keeps only some bits of the hash, so that tests can have collisions.
    #[cfg(test)]
    pub(super) mask: u64,
}

impl BigHash {
    /// An empty hash whose order follows from `key`.
    #[must_use]
    pub fn new(key: SipKey) -> Self {
        let root = Node::empty();
        let heap = root.heap_bytes();
        Self {
            key,
            root,
            heap,
            #[cfg(test)]
            mask: u64::MAX,
        }
    }

    /// A hash with the fields of a packed one.
    #[must_use]
    pub fn from_packed(key: SipKey, packed: PackedHash<'_>) -> Self {
        let mut big = Self::new(key);
        for field in packed.iter() {
            big.insert(field);
        }
        big
    }

    /// Appends all fields to `out` as a packed run, in hash order.
    pub fn to_packed(&self, out: &mut Vec<u8>) {
        for field in self.iter() {
            write_field(out, field);
        }
    }

    /// The number of fields, those that are due included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.root.count()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The earliest deadline of any field.
    #[must_use]
    pub fn first_deadline(&self) -> Option<u64> {
        self.root.ends().first()
    }

    /// The bytes that the nodes and long values have allocated; `Self` itself isn't in it.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.heap
    }

    /// The field of this name, due or not.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        let hash = self.hash(name);
        let leaf = self.root.leaf(hash)?;
        leaf.field(leaf.find(hash, name).ok()?)
    }

    /// The field that has `rank` fields before it in hash order.
    #[must_use]
    pub fn nth(&self, rank: usize) -> Option<Field<'_>> {
        self.root.nth(rank)
    }

    /// All fields in hash order, those that are due included.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> + Clone + use<'_> {
        self.walk(0).map(|(_, field)| field)
    }

    /// One step over all fields: hands about `limit` of them to `each`, from the hash `from` on,
    /// and returns where to go on, or 0 if that was the end.
    ///
    /// Begin with 0. Fields of one hash come in one step, so that whatever is added or taken away
    /// between steps, a field that is there all the time is handed out exactly once.
    pub fn scan<'a>(&'a self, from: u64, limit: usize, each: &mut dyn FnMut(Field<'a>)) -> u64 {
        let (mut done, mut last) = (0, None);
        for (hash, field) in self.walk(from) {
            if done >= limit.max(1) && last != Some(hash) {
                return hash;
            }
            each(field);
            done += 1;
            last = Some(hash);
        }
        0
    }

    /// Up to `limit` fields whose deadline has come at `now`, in hash order.
    #[must_use]
    pub fn due(&self, now: u64, limit: usize) -> Vec<Field<'_>> {
        let mut due = Vec::new();
        if limit > 0 && self.root.ends().any_by(now) {
            self.root.each_due(now, &mut |field| {
                due.push(field);
                due.len() < limit
            });
        }
        due
    }

    /// How many fields are due at `now`.
    #[must_use]
    pub fn due_len(&self, now: u64) -> usize {
        if self.root.ends().any_by(now) { self.root.due_len(now) } else { 0 }
    }

    /// Whether every field is due at `now`; costs nothing to ask.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        self.root.ends().all_by(now)
    }

    /// Takes away up to `limit` fields that are due at `now` and returns their names.
    pub fn expire(&mut self, now: u64, limit: usize) -> Vec<Box<[u8]>> {
        let names: Vec<Box<[u8]>> =
            self.due(now, limit).into_iter().map(|field| field.name.into()).collect();
        for name in &names {
            self.remove(name);
        }
        names
    }

    /// Stores a field; true if it is new.
    pub fn insert(&mut self, field: Field<'_>) -> bool {
        let deadline = field.deadline.map_or(FieldDeadline::Clear, FieldDeadline::At);
        let edit = FieldEdit::Set { field: field.name, value: field.value, deadline };
        self.apply(&[edit]).added > 0
    }

    /// Takes the field of this name away; true if it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.apply(&[FieldEdit::Delete { field: name }]).removed > 0
    }

    /// Applies `edits` in their order.
    pub fn apply(&mut self, edits: &[FieldEdit<'_>]) -> Summary {
        let mut summary = Summary::default();
        for edit in edits {
            let hash = self.hash(edit.field());
            let mut change = |leaf: &mut Leaf| change_leaf(leaf, hash, edit, &mut summary);
            if let Some(right) = self.root.edit(hash, &mut change, &mut self.heap) {
                self.root.grow(right, &mut self.heap);
            }
            self.root.shrink(&mut self.heap);
        }
        Summary { len: self.len(), first_deadline: self.first_deadline(), ..summary }
    }

    /// Frees up to `budget` nodes from the end, fields and all, and takes them off it; true once
    /// nothing is left. So a large hash goes away in slices. What remains is a hash as any other;
    /// one that a clone still has goes at once.
    pub fn drop_slice(&mut self, budget: &mut usize) -> bool {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        let empty = self.is_shared() || self.root.drop_slice(budget, &mut self.heap);
        if empty {
            self.root = Node::empty();
            self.heap = self.root.heap_bytes();
        } else {
            self.root.shrink(&mut self.heap);
        }
        empty
    }

    /// Whether a clone has the same root still.
    pub(crate) fn is_shared(&self) -> bool {
        self.root.is_shared()
    }

    /// All fields from the hash `from` on, each with its hash.
    pub(super) fn walk(&self, from: u64) -> Walk<'_> {
        Walk::new(&self.root, from)
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let hash = HashKey(self.key).hash(name).0;
        #[cfg(test)]
        let hash = hash & self.mask;
        hash
    }

    /// Whether the tree is what its modules say; a checker's question.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        self.root.is_sound(0) && self.heap == self.root.heap_bytes()
    }
}

/// Does one edit in the leaf where its field belongs.
fn change_leaf(leaf: &mut Leaf, hash: u64, edit: &FieldEdit<'_>, summary: &mut Summary) {
    let place = leaf.find(hash, edit.field());
    let before = place.ok().and_then(|i| leaf.field(i));
    let after = edit.after(before);
    summary.count(edit, before, after);
    let deadline = after.and_then(|field| field.deadline);
    match (place, *edit) {
        (Ok(i), FieldEdit::Set { field, value, .. }) => {
            leaf.replace(i, Field { name: field, value, deadline });
        }
        (Err(i), FieldEdit::Set { field, value, .. }) => {
            leaf.insert(i, hash, Field { name: field, value, deadline });
        }
        (Ok(i), FieldEdit::Delete { .. }) => leaf.remove(i),
        (Ok(i), FieldEdit::Deadline { at, .. }) => leaf.set_deadline(i, at),
        (Err(_), FieldEdit::Delete { .. } | FieldEdit::Deadline { .. }) => {}
    }
}
