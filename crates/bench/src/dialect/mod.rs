//! How a session operation is said to a server: the same visit, in five ways of storing sessions.
//!
//! What always holds: every operation of a visitor who has a session begins with loading it, as web
//! frameworks do; what a way of storing can't do in one step takes the steps that an app would take.
//! A store of whole values writes the whole value for a changed field.
//! Not for: understanding replies beyond their kind (see `scan`).

pub mod scan;

mod memcached;
mod resp;

use std::fmt;

use crate::payload::Document;

pub use scan::{Reply, Scan};

/// What a visitor does. The numbers are those of [`Op::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads the session; a use of it where timeouts slide.
    Load,
    /// Reads it, then changes one field.
    Change,
    /// Reads it, then gives it another key, a user and new contents.
    SignIn,
    /// Reads it, then ends it.
    SignOut,
    /// Makes one for a visitor who has none.
    Create,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Load, Self::Change, Self::SignIn, Self::SignOut, Self::Create];

    /// As workload files and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Change => "change",
            Self::SignIn => "sign-in",
            Self::SignOut => "sign-out",
            Self::Create => "create",
        }
    }

    /// Its steps, each sent when the one before was answered.
    pub fn steps(self) -> &'static [Step] {
        match self {
            Self::Load => &[Step::Load],
            Self::Change => &[Step::Load, Step::Change],
            Self::SignIn => &[Step::Load, Step::Rotate],
            Self::SignOut => &[Step::Load, Step::End],
            Self::Create => &[Step::Create],
        }
    }
}

/// One exchange with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads the whole session.
    Load,
    /// Writes one changed field (the whole value, where values are whole).
    Change,
    /// Writes a session under the new key and ends the one under the old key.
    Rotate,
    /// Ends the session.
    End,
    /// Writes a session that wasn't there.
    Create,
}

/// Everything that a step can need.
#[derive(Debug)]
pub struct Said<'a> {
    /// The session's key, the old one for [`Step::Rotate`].
    pub key: &'a [u8],
    /// The new key of [`Step::Rotate`].
    pub new_key: &'a [u8],
    /// What to write: the whole session, or for a change its one field too.
    pub document: &'a Document,
    /// Seconds until an unused session ends.
    pub idle: u32,
    /// Whether a load re-arms that time.
    pub slide: bool,
}

/// A way of storing sessions in a kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One string per session, as Django's cache engine and Flask-Session store it (RESP).
    String,
    /// One hash per session, a field per value (RESP).
    Hash,
    /// Sessile's SESSION commands (RESP).
    Session,
    /// One item per session, classic text protocol.
    Text,
    /// One item per session, meta commands.
    Meta,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::String, Self::Hash, Self::Session, Self::Text, Self::Meta];

    /// As the command line and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
            Self::Session => "session",
            Self::Text => "text",
            Self::Meta => "meta",
        }
    }

    /// The dialect of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// Whether it is spoken over RESP, else over memcached's protocol.
    pub fn is_resp(self) -> bool {
        matches!(self, Self::String | Self::Hash | Self::Session)
    }

    /// Whether a change writes the whole session.
    pub fn writes_whole(self) -> bool {
        matches!(self, Self::String | Self::Text | Self::Meta)
    }

    /// Appends the requests of a step and returns how many replies answer them.
    pub fn say(self, step: Step, said: &Said<'_>, out: &mut Vec<u8>) -> u8 {
        match self {
            Self::String => resp::string(step, said, out),
            Self::Hash => resp::hash(step, said, out),
            Self::Session => resp::session(step, said, out),
            Self::Text => memcached::text(step, said, out),
            Self::Meta => memcached::meta(step, said, out),
        }
    }

    /// Looks for one complete reply at the start of `input`.
    pub fn scan(self, input: &[u8]) -> Scan {
        if self.is_resp() { scan::resp(input) } else { scan::memcached(input) }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

#[cfg(test)]
mod tests;
