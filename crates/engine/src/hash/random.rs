//! Random picks out of a hash, for HRANDFIELD.
//!
//! The caller brings the source: asked with `n` it answers a number below `n`.
//! What always holds: each field that is there at `now` is as likely as any other, as far as the
//! source is fair; an unfair source costs fairness, never an endless loop.

use std::collections::BTreeSet;

use super::{BigHash, Field, HashView};

/// How often a pick that met a field that is due is tried again before the first field that is
/// there is taken.
const TRIES: usize = 128;

impl<'a> HashView<'a> {
    /// One field, if there is any at `now`.
    #[must_use]
    pub fn random_one(self, now: u64, below: &mut dyn FnMut(u64) -> u64) -> Option<Field<'a>> {
        match self {
            Self::Packed(packed) => {
                let live = self.live_len(now);
                let rank = draw(below, live)?;
                packed.iter().filter(|field| field.is_live(now)).nth(rank)
            }
            Self::Big(_) => Pool::new(self, now).pick(below),
        }
    }

    /// `count` different fields, or all if there are no more, in any order.
    #[must_use]
    pub fn random_distinct(
        self,
        count: usize,
        now: u64,
        below: &mut dyn FnMut(u64) -> u64,
    ) -> Vec<Field<'a>> {
        let live = self.live_len(now);
        if count >= live {
            return self.iter(now).collect();
        }
        if let Self::Big(big) = self
            && count <= live / 4
            && live >= big.len() / 2
            && let Some(fields) = distinct_ranks(big, count, now, below)
        {
            return fields;
        }
        // One pass: each field is taken with the chance of those still wanted among those left.
        let (mut wanted, mut left) = (count, live);
        let mut fields = Vec::with_capacity(count);
        for field in self.iter(now) {
            if draw(below, left).is_some_and(|drawn| drawn < wanted) {
                fields.push(field);
                wanted -= 1;
            }
            left = left.saturating_sub(1);
        }
        fields
    }

    /// Hands `count` picks to `each`, the same field any number of times, until it answers no.
    pub fn random_repeated(
        self,
        count: u64,
        now: u64,
        below: &mut dyn FnMut(u64) -> u64,
        each: &mut dyn FnMut(Field<'a>) -> bool,
    ) {
        let pool = Pool::new(self, now);
        for _ in 0..count {
            let Some(field) = pool.pick(below) else { return };
            if !each(field) {
                return;
            }
        }
    }
}

/// What is picked from.
enum Pool<'a> {
    /// At least half of the fields are there: pick by rank, again if it is a due one.
    Tree(&'a BigHash, u64),
    List(Vec<Field<'a>>),
}

impl<'a> Pool<'a> {
    fn new(view: HashView<'a>, now: u64) -> Self {
        match view {
            HashView::Big(big) if view.live_len(now) > big.len() / 2 => Self::Tree(big, now),
            _ => Self::List(view.iter(now).collect()),
        }
    }

    fn pick(&self, below: &mut dyn FnMut(u64) -> u64) -> Option<Field<'a>> {
        match self {
            Self::List(fields) => fields.get(draw(below, fields.len())?).copied(),
            Self::Tree(big, now) => {
                for _ in 0..TRIES {
                    let field = big.nth(draw(below, big.len())?)?;
                    if field.is_live(*now) {
                        return Some(field);
                    }
                }
                HashView::Big(big).iter(*now).next()
            }
        }
    }
}

/// Draws ranks until `count` different ones with a field that is there are found; `None` if that
/// takes suspiciously long.
fn distinct_ranks<'a>(
    big: &'a BigHash,
    count: usize,
    now: u64,
    below: &mut dyn FnMut(u64) -> u64,
) -> Option<Vec<Field<'a>>> {
    let (mut ranks, mut fields) = (BTreeSet::new(), Vec::with_capacity(count));
    for _ in 0..count.saturating_mul(16).saturating_add(TRIES) {
        if fields.len() == count {
            return Some(fields);
        }
        let rank = draw(below, big.len())?;
        if ranks.insert(rank) {
            fields.extend(big.nth(rank).filter(|field| field.is_live(now)));
        }
    }
    None
}

/// A number below `length`; none if that is 0.
fn draw(below: &mut dyn FnMut(u64) -> u64, length: usize) -> Option<usize> {
    let last = length.checked_sub(1)?;
    Some(below(length as u64).min(last as u64) as usize)
}
