//! Nodes of the tree and the one way to change them.
//!
//! ```text
//! inner   | low, count, ends, node | low, count, ends, node | ...     at most 80 children
//! ```
//!
//! A child's `low` is a bound below all its hashes, `count` its fields, `ends` when they
//! end. All leaves are at the same depth.
//! What always holds: lows ascend; a child's low is that of its own first child; no child is empty
//! unless it is the only one. A node that grows too large is split, one that is sparse is merged
//! with a neighbour if both have room to spare; so the depth stays within the logarithm of the
//! number of fields, and recursion over it is bounded by it. Trees may share nodes: a clone costs
//! nothing, and a change copies the nodes on its way that are shared.

use super::ends::Ends;
use super::entry::Field;
use super::leaf::{Leaf, reserve, trim};
use std::sync::Arc;

/// The most children of a node: 80 x 48 bytes.
const FULL: usize = 80;
/// With fewer children a node is merged with a neighbour, if both have at most `MERGED`.
const SPARSE: usize = 20;
const MERGED: usize = 60;
const STEP: usize = 8;

/// What a shared allocation has before its value: two counters.
pub(super) const ARC_BYTES: usize = 16;

const _: () = assert!(size_of::<Child>() * FULL + size_of::<Inner>() <= 4096);

/// A node of either kind. Whoever changes one that is shared changes a copy of it.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Arc<Leaf>),
    Inner(Arc<Inner>),
}

/// A node whose children are nodes.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    children: Vec<Child>,
    count: usize,
    ends: Ends,
}

/// A node as its parent knows it.
#[derive(Clone, Debug)]
pub(super) struct Child {
    low: u64,
    count: usize,
    ends: Ends,
    node: Node,
}

impl Node {
    /// A leaf without fields.
    pub(super) fn empty() -> Self {
        Self::Leaf(Arc::default())
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.count,
        }
    }

    pub(super) fn ends(&self) -> Ends {
        match self {
            Self::Leaf(leaf) => leaf.ends(),
            Self::Inner(inner) => inner.ends,
        }
    }

    /// The leaf that holds `hash`, if any does.
    pub(super) fn leaf(&self, hash: u64) -> Option<&Leaf> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return Some(leaf),
                Self::Inner(inner) => node = &inner.children.get(inner.child_for(hash))?.node,
            }
        }
    }

    /// The field with so many before it.
    pub(super) fn nth(&self, mut rank: usize) -> Option<Field<'_>> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return leaf.field(rank),
                Self::Inner(inner) => {
                    let mut children = inner.children.iter();
                    node = loop {
                        let child = children.next()?;
                        if rank < child.count {
                            break &child.node;
                        }
                        rank -= child.count;
                    };
                }
            }
        }
    }

    /// Calls `each` for the fields that are due at `now`, until it answers no; passes over
    /// subtrees without any.
    pub(super) fn each_due<'a>(
        &'a self,
        now: u64,
        each: &mut dyn FnMut(Field<'a>) -> bool,
    ) -> bool {
        match self {
            Self::Leaf(leaf) => {
                let mut fields = (0..leaf.len()).filter_map(|i| leaf.field(i));
                fields.all(|field| field.is_live(now) || each(field))
            }
            Self::Inner(inner) => {
                let mut due = inner.children.iter().filter(|child| child.ends.any_by(now));
                due.all(|child| child.node.each_due(now, each))
            }
        }
    }

    /// How many fields are due at `now`; goes only into subtrees where some are and some aren't.
    pub(super) fn due_len(&self, now: u64) -> usize {
        if self.ends().all_by(now) {
            return self.count();
        }
        match self {
            Self::Leaf(leaf) => {
                let fields = (0..leaf.len()).filter_map(|i| leaf.field(i));
                fields.filter(|field| !field.is_live(now)).count()
            }
            Self::Inner(inner) => {
                let due = inner.children.iter().filter(|child| child.ends.any_by(now));
                due.map(|child| child.node.due_len(now)).sum()
            }
        }
    }

    /// Lets `change` work on the leaf of `hash`, then restores order. `heap` follows the bytes
    /// allocated. Returns the right half if the node had to be split.
    pub(super) fn edit(
        &mut self,
        hash: u64,
        change: &mut dyn FnMut(&mut Leaf),
        heap: &mut usize,
    ) -> Option<Child> {
        match self {
            Self::Inner(inner) => own(inner, heap).edit(hash, change, heap),
            Self::Leaf(leaf) => {
                *heap -= leaf.heap_bytes();
                let leaf = Arc::make_mut(leaf);
                change(leaf);
                let right = leaf.split();
                *heap += leaf.heap_bytes();
                let right = right?;
                *heap += right.heap_bytes();
                Some(Child::new(right.hash(0).unwrap_or_default(), Self::Leaf(Arc::new(right))))
            }
        }
    }

    /// Puts a new node above this one and the right half that was split from it.
    pub(super) fn grow(&mut self, right: Child, heap: &mut usize) {
        let left = Child::new(0, std::mem::replace(self, Self::empty()));
        let mut children = Vec::new();
        reserve(&mut children, 2, STEP);
        children.push(left);
        children.push(right);
        let inner = Inner::new(children);
        *heap += inner.heap_bytes();
        *self = Self::Inner(Arc::new(inner));
    }

    /// As long as the node has a single child, becomes that child.
    pub(super) fn shrink(&mut self, heap: &mut usize) {
        while let Self::Inner(inner) = self {
            if inner.children.len() > 1 {
                return;
            }
            *heap -= inner.heap_bytes();
            let only = Arc::make_mut(inner).children.pop().map(|child| child.node);
            *self = only.unwrap_or_else(|| {
                *heap += Leaf::default().heap_bytes();
                Self::empty()
            });
        }
    }

    /// The bytes allocated for the node and all below it, counted anew.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.heap_bytes(),
            Self::Inner(inner) => {
                let below = inner.children.iter().map(|child| child.node.heap_bytes());
                inner.heap_bytes() + below.sum::<usize>()
            }
        }
    }

    /// Whether another tree has this node too.
    pub(super) fn is_shared(&self) -> bool {
        match self {
            Self::Leaf(leaf) => Arc::strong_count(leaf) > 1,
            Self::Inner(inner) => Arc::strong_count(inner) > 1,
        }
    }

    /// Frees nodes from the end, at most `budget` of them; true if this one is now empty.
    pub(super) fn drop_slice(&mut self, budget: &mut usize, heap: &mut usize) -> bool {
        let Self::Inner(inner) = self else { return true };
        *heap -= inner.heap_bytes();
        let inner = Arc::make_mut(inner);
        while *budget > 0 {
            let Some(last) = inner.children.last_mut() else { break };
            if last.node.drop_slice(budget, heap) {
                *heap -= last.node.heap_bytes();
                inner.children.pop();
                *budget = budget.saturating_sub(1);
            } else {
                last.refresh();
            }
        }
        inner.recount();
        *heap += inner.heap_bytes();
        inner.children.is_empty()
    }

    /// Whether everything that this module says always holds does, from `low` on.
    #[cfg(test)]
    pub(super) fn is_sound(&self, low: u64) -> bool {
        let Self::Inner(inner) = self else {
            let Self::Leaf(leaf) = self else { return false };
            return leaf.is_sound() && leaf.hash(0).is_none_or(|hash| hash >= low);
        };
        let below = |child: &Child| {
            child.node.is_sound(child.low)
                && (child.count, child.ends) == (child.node.count(), child.node.ends())
                && child.count > 0
        };
        let (mut counted, depth) = (Inner::clone(inner), inner.children.first().map(Child::depth));
        counted.recount();
        inner.children.first().is_some_and(|child| child.low == low)
            && inner.children.windows(2).all(|pair| {
                pair[0].low < pair[1].low && pair[0].node.last_hash() < Some(pair[1].low)
            })
            && inner.children.len() <= FULL
            && inner.children.iter().all(|child| below(child) && Some(child.depth()) == depth)
            && (inner.count, inner.ends) == (counted.count, counted.ends)
    }

    #[cfg(test)]
    fn last_hash(&self) -> Option<u64> {
        match self {
            Self::Leaf(leaf) => leaf.hash(leaf.len().checked_sub(1)?),
            Self::Inner(inner) => inner.children.last()?.node.last_hash(),
        }
    }
}

impl Child {
    fn new(low: u64, node: Node) -> Self {
        Self { low, count: node.count(), ends: node.ends(), node }
    }

    fn refresh(&mut self) {
        (self.count, self.ends) = (self.node.count(), self.node.ends());
    }

    #[cfg(test)]
    fn depth(&self) -> usize {
        match &self.node {
            Node::Leaf(_) => 1,
            Node::Inner(inner) => 1 + inner.children.first().map_or(0, Self::depth),
        }
    }
}

impl Inner {
    fn new(children: Vec<Child>) -> Self {
        let mut inner = Self { children, count: 0, ends: Ends::NONE };
        inner.recount();
        inner
    }

    fn recount(&mut self) {
        self.count = self.children.iter().map(|child| child.count).sum();
        self.ends = Ends::of_all(self.children.iter().map(|child| child.ends));
    }

    /// The position of the child that `hash` belongs to.
    fn child_for(&self, hash: u64) -> usize {
        self.children.partition_point(|child| child.low <= hash).saturating_sub(1)
    }

    fn heap_bytes(&self) -> usize {
        ARC_BYTES + size_of::<Self>() + self.children.capacity() * size_of::<Child>()
    }

    fn edit(
        &mut self,
        hash: u64,
        change: &mut dyn FnMut(&mut Leaf),
        heap: &mut usize,
    ) -> Option<Child> {
        let i = self.child_for(hash);
        let child = self.children.get_mut(i)?;
        let (count, ends) = (child.count, child.ends);
        let split = child.node.edit(hash, change, heap);
        child.refresh();
        let (new_count, new_ends) = (child.count, child.ends);
        *heap -= self.heap_bytes();
        let right = match split {
            Some(right) => {
                reserve(&mut self.children, 1, STEP);
                self.children.insert(i + 1, right);
                self.recount();
                self.split(heap)
            }
            None if new_count < count && self.tidy(i, heap) => {
                trim(&mut self.children, STEP);
                self.recount();
                None
            }
            None => {
                self.count = self.count + new_count - count;
                match self.ends.replaced(ends, new_ends) {
                    Some(ends) => self.ends = ends,
                    None => self.recount(),
                }
                None
            }
        };
        *heap += self.heap_bytes();
        right
    }

    /// If there are too many children, moves the right half of them to a new node.
    fn split(&mut self, heap: &mut usize) -> Option<Child> {
        if self.children.len() <= FULL {
            return None;
        }
        let middle = self.children.len() / 2;
        let mut moved = Vec::new();
        reserve(&mut moved, self.children.len() - middle, STEP);
        moved.extend(self.children.drain(middle..));
        trim(&mut self.children, STEP);
        self.recount();
        let right = Self::new(moved);
        *heap += right.heap_bytes();
        let low = right.children.first().map_or(0, |child| child.low);
        Some(Child::new(low, Node::Inner(Arc::new(right))))
    }

    /// Removes the child at `i` if it is empty, or merges it with a neighbour if it is sparse.
    /// True if the children aren't the same as before.
    fn tidy(&mut self, i: usize, heap: &mut usize) -> bool {
        if self.children.len() < 2 {
            return false;
        }
        if self.children.get(i).is_some_and(|child| child.count == 0) {
            let gone = self.children.remove(i);
            *heap -= gone.node.heap_bytes();
            if i == 0 {
                self.lower_first_child(gone.low, heap);
            }
            return true;
        }
        let left = [i.checked_sub(1), Some(i)].into_iter().flatten().find(|left| {
            matches!(self.children.get(*left..*left + 2), Some([a, b]) if a.node.suits(&b.node))
        });
        let Some(left) = left else { return false };
        let right = self.children.remove(left + 1);
        if let Some(child) = self.children.get_mut(left) {
            child.node.absorb(right, heap);
            child.refresh();
        }
        true
    }

    /// Makes the first child, and the first below it, begin at `low`.
    fn lower_first_child(&mut self, low: u64, heap: &mut usize) {
        let mut first = self.children.first_mut();
        while let Some(child) = first {
            child.low = low;
            first = match &mut child.node {
                Node::Inner(inner) => own(inner, heap).children.first_mut(),
                Node::Leaf(_) => None,
            };
        }
    }
}

impl Node {
    fn suits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(a), Self::Leaf(b)) => a.suits(b),
            (Self::Inner(a), Self::Inner(b)) => {
                let (a, b) = (a.children.len(), b.children.len());
                a.min(b) < SPARSE && a + b <= MERGED
            }
            _ => false,
        }
    }

    /// Takes in all that is in the right neighbour, which is of the same kind.
    fn absorb(&mut self, right: Child, heap: &mut usize) {
        *heap -= self.own_bytes() + right.node.own_bytes();
        match (&mut *self, right.node) {
            (Self::Leaf(a), Self::Leaf(b)) => Arc::make_mut(a).absorb(Arc::unwrap_or_clone(b)),
            (Self::Inner(a), Self::Inner(b)) => {
                let (a, b) = (Arc::make_mut(a), Arc::unwrap_or_clone(b));
                reserve(&mut a.children, b.children.len(), STEP);
                a.children.extend(b.children);
                a.recount();
            }
            _ => {}
        }
        *heap += self.own_bytes();
    }

    /// The bytes allocated for this node without those below it.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.heap_bytes(),
            Self::Inner(inner) => inner.heap_bytes(),
        }
    }
}

/// A node to change: a copy, if somebody else holds it too. `heap` follows, since a copy has no
/// room to spare.
fn own<'a>(inner: &'a mut Arc<Inner>, heap: &mut usize) -> &'a mut Inner {
    *heap -= inner.heap_bytes();
    let inner = Arc::make_mut(inner);
    *heap += inner.heap_bytes();
    inner
}

/// The fields in hash order, each with its hash.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    /// What is left on each level above the leaf.
    above: smallvec::SmallVec<[std::slice::Iter<'a, Child>; 6]>,
    leaf: Option<&'a Leaf>,
    at: usize,
}

impl<'a> Walk<'a> {
    /// From the first field whose hash is `hash` or higher.
    pub(super) fn new(root: &'a Node, hash: u64) -> Self {
        let mut walk = Self { above: smallvec::SmallVec::new(), leaf: None, at: 0 };
        walk.descend(root, hash);
        walk
    }

    fn descend(&mut self, mut node: &'a Node, hash: u64) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.leaf = Some(leaf);
                    self.at = leaf.lower_bound(hash);
                    return;
                }
                Node::Inner(inner) => {
                    let mut rest =
                        inner.children.get(inner.child_for(hash)..).unwrap_or(&[]).iter();
                    let Some(child) = rest.next() else { return };
                    self.above.push(rest);
                    node = &child.node;
                }
            }
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(leaf) = self.leaf {
                if let (Some(hash), Some(field)) = (leaf.hash(self.at), leaf.field(self.at)) {
                    self.at += 1;
                    return Some((hash, field));
                }
                self.leaf = None;
            }
            match self.above.last_mut()?.next() {
                Some(child) => self.descend(&child.node, 0),
                None => {
                    self.above.pop();
                }
            }
        }
    }
}
