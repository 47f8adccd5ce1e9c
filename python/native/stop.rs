//! Why the fast path ends early.

use pyo3::PyErr;

/// Not an answer.
pub(crate) enum Stop {
    /// The Python code has to look at this.
    Decline,
    /// Python code that was called has raised.
    Raise(PyErr),
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self::Raise(error)
    }
}

/// What a function of this module answers to Python: `None` for what it declines.
pub(crate) fn answer<T>(result: Result<T, Stop>) -> Result<Option<T>, PyErr> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Stop::Decline) => Ok(None),
        Err(Stop::Raise(error)) => Err(error),
    }
}
