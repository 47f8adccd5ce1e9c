//! One row per directive: its names, kind, default, whether it may change, and its line of help.
//!
//! Everything else derives from the rows: what a file may say, CONFIG GET and SET, `--help`,
//! `--print-config` and the sample file.

use super::kind::Kind;

/// When a directive may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At the start and by CONFIG SET.
    Live,
    /// At the start only.
    Start,
    /// By CONFIG SET only where `enable-protected-configs` allows it.
    Protected,
}

/// A directive.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Another name for it; empty if there is none.
    pub alias: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// The value if none is given, as one would write it.
    pub default: &'static str,
    /// When it may be given.
    pub change: Change,
    /// Why no other value than the default is taken in this version; empty if others are.
    pub barred: &'static str,
    /// What it does, one line.
    pub doc: &'static str,
}

impl Row {
    /// A row that CONFIG SET may change.
    pub const fn live(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, alias: "", kind, default, change: Change::Live, barred: "", doc }
    }

    /// A row that counts at the start only.
    pub const fn start(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { change: Change::Start, ..Self::live(name, kind, default, doc) }
    }

    /// The same with another name besides.
    pub const fn alias(self, alias: &'static str) -> Self {
        Self { alias, ..self }
    }

    /// The same, changed at run time only by leave.
    pub const fn protected(self) -> Self {
        Self { change: Change::Protected, ..self }
    }

    /// The same, with nothing but the default allowed, for that reason.
    pub const fn barred(self, reason: &'static str) -> Self {
        Self { barred: reason, ..self }
    }

    /// The default in its normal form.
    pub fn normal_default(&self) -> String {
        self.kind.normal(&[self.default], "").unwrap_or_else(|_| {
            // Kinds of several words take theirs one by one.
            let words: Vec<&str> = self.default.split_ascii_whitespace().collect();
            self.kind.normal(&words, "").unwrap_or_default()
        })
    }
}
