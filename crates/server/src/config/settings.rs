//! What was asked for: a value in normal form for every directive.

use std::collections::{BTreeMap, BTreeSet};

use super::row::Row;
use super::tables;

/// The value of every directive, as text in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
    /// Directives whose value was worked out from the machine, not given.
    automatic: BTreeSet<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        let values = tables::rows().map(|row| (row.name, row.normal_default())).collect();
        Self { values, automatic: BTreeSet::new() }
    }
}

impl Settings {
    /// Gives a directive a value.
    pub fn put(&mut self, row: &Row, words: &[&str]) -> Result<(), String> {
        let before = self.value(row.name).to_owned();
        let value = row.kind.normal(words, &before)?;
        if !row.barred.is_empty() && value != row.normal_default() {
            return Err(row.barred.to_owned());
        }
        self.values.insert(row.name, value);
        self.automatic.remove(row.name);
        Ok(())
    }

    /// Fills in what was left to the machine (a value of 0).
    pub(super) fn fill(&mut self, name: &'static str, value: u64) {
        if self.number(name) == 0 {
            self.values.insert(name, value.to_string());
            self.automatic.insert(name);
        }
    }

    /// Whether the value was worked out instead of given.
    pub fn is_automatic(&self, name: &str) -> bool {
        self.automatic.contains(name)
    }

    /// The value in normal form; empty for a name that no row has.
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The value of a number or of bytes.
    pub fn number(&self, name: &str) -> i64 {
        self.value(name).parse().unwrap_or(0)
    }

    /// The value of a number or of bytes that can't be negative.
    pub fn size(&self, name: &str) -> u64 {
        self.value(name).parse().unwrap_or(0)
    }

    /// Whether the value is `yes`.
    pub fn is_set(&self, name: &str) -> bool {
        self.value(name) == "yes"
    }
}
