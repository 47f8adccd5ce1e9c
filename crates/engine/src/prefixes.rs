//! The common key prefixes of a shard: learned when met often, kept for good.
//!
//! What always holds: a number never changes its prefix, so packed keys stay readable.

use crate::limits::{PREFIX_BYTES_MAX, PREFIX_CANDIDATES_MAX, PREFIX_LEARNED_AFTER, PREFIXES_MAX};
use layout::key::{Plan, Prefixes, prefix_end};
use std::collections::HashMap;

/// The prefixes that packed keys refer to, and those that may be learned next.
#[derive(Debug)]
pub(crate) struct PrefixTable {
    /// By number; number 0 is the empty prefix.
    known: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u8>,
    candidates: Vec<(Box<[u8]>, u32)>,
    /// The candidate that the next stranger weakens.
    hand: usize,
}

impl PrefixTable {
    pub(crate) fn new() -> Self {
        Self {
            known: vec![Box::default()],
            numbers: HashMap::new(),
            candidates: Vec::new(),
            hand: 0,
        }
    }

    /// The best way to keep `key`; meeting a prefix often teaches it.
    pub(crate) fn plan(&mut self, key: &[u8]) -> Plan {
        let end = prefix_end(key);
        let prefix = key.get(..end).unwrap_or_default();
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX {
            return Plan::behind(key, 0, 0);
        }
        let known = self.numbers.get(prefix).copied();
        match known.or_else(|| self.meet(prefix)) {
            Some(number) => Plan::behind(key, number, end),
            None => Plan::raw(key),
        }
    }

    /// Counts a prefix; its number if this made it known.
    fn meet(&mut self, prefix: &[u8]) -> Option<u8> {
        if self.known.len() >= PREFIXES_MAX {
            return None;
        }
        let met = self.candidates.iter().position(|(p, _)| **p == *prefix);
        let Some(at) = met else {
            self.consider(prefix);
            return None;
        };
        let (_, count) = self.candidates.get_mut(at)?;
        *count += 1;
        if *count < PREFIX_LEARNED_AFTER {
            return None;
        }
        let (prefix, _) = self.candidates.swap_remove(at);
        let number = self.known.len() as u8;
        self.known.push(prefix.clone());
        self.numbers.insert(prefix, number);
        Some(number)
    }

    /// Takes in a stranger, or lets it weaken one of those who wait: a prefix that is met more
    /// often than one key in 32 is learned in the end, the rest push each other out.
    fn consider(&mut self, prefix: &[u8]) {
        if self.candidates.len() < PREFIX_CANDIDATES_MAX {
            self.candidates.push((prefix.into(), 1));
            return;
        }
        self.hand = (self.hand + 1) % PREFIX_CANDIDATES_MAX;
        if let Some((old, count)) = self.candidates.get_mut(self.hand) {
            *count -= 1;
            if *count == 0 {
                *old = prefix.into();
                *count = 1;
            }
        }
    }
}

impl Prefixes for PrefixTable {
    #[inline]
    fn prefix(&self, number: u8) -> &[u8] {
        self.known.get(usize::from(number)).map_or(&[], |p| p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use layout::header::KeyForm;

    #[test]
    fn a_prefix_is_learned_when_it_is_met_often() {
        let mut table = PrefixTable::new();
        let forms: Vec<KeyForm> =
            (0..20).map(|n| table.plan(format!("session:{n:012}").as_bytes()).form).collect();
        assert_eq!(forms.iter().filter(|f| **f == KeyForm::Raw).count(), 7);
        assert_eq!(table.prefix(1), b"session:");
    }

    #[test]
    fn strangers_cannot_fill_the_table_with_rare_prefixes() {
        let mut table = PrefixTable::new();
        for n in 0..100_000 {
            table.plan(format!("app:{n}:x").as_bytes());
            if n % 8 == 0 {
                table.plan(b"session:1");
            }
        }
        assert!(table.known.iter().any(|p| **p == *b"session:"));
        assert_eq!(table.known.len(), 2, "nothing else was learned");
        assert!(table.candidates.len() <= PREFIX_CANDIDATES_MAX);
    }
}
