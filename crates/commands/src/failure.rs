//! Why a request failed.
//!
//! What always holds: the text is a whole error line without its leading `-`: a code in capitals,
//! a space, a sentence, word for word as Redis has it wherever clients look at it.

use std::borrow::Cow;

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The client is told this line.
    Error(Cow<'static, str>),
    /// There was no memory for it; the caller makes room and tries again, or says so.
    Full,
    /// It needs shards that aren't locked, and has changed nothing; the caller locks all and runs
    /// it again.
    Beyond,
    /// What [`Client::waiting`](crate::Client::waiting) names has to come first; nothing was
    /// changed, and the caller runs it again then. Inside a transaction nothing waits.
    Later,
}

impl Failure {
    /// A value of another kind stands under the key.
    pub const WRONG_TYPE: Self =
        Self::text("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// An option that doesn't exist or doesn't fit.
    pub const SYNTAX: Self = Self::text("ERR syntax error");
    /// An argument that should be an integer and isn't.
    pub const NOT_AN_INTEGER: Self = Self::text("ERR value is not an integer or out of range");
    /// An argument that should be a number and isn't.
    pub const NOT_A_FLOAT: Self = Self::text("ERR value is not a valid float");
    /// There is no such key, where one must be.
    pub const NO_SUCH_KEY: Self = Self::text("ERR no such key");

    /// More was asked for at once than a client may have waiting.
    pub const REPLY_TOO_LARGE: Self = Self::text("ERR the reply would be too large");

    /// An error whose line is known beforehand.
    pub const fn text(line: &'static str) -> Self {
        Self::Error(Cow::Borrowed(line))
    }

    /// An error whose line is made now.
    pub fn made(line: String) -> Self {
        Self::Error(Cow::Owned(line))
    }

    /// The wrong number of arguments for the command of this name.
    pub fn arity(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        Self::made(format!("ERR wrong number of arguments for '{name}' command"))
    }
}

impl From<engine::Full> for Failure {
    fn from(_: engine::Full) -> Self {
        Self::Full
    }
}
