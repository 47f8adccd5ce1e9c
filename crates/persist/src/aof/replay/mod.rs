//! Records become effects again.
//!
//! What is written here states results, and so does most of what Redis writes. Where Redis logs a
//! command that builds on what was there (INCR, APPEND, RENAME ...), the result is worked out from
//! the store. Conditions (NX, GT ...) aren't looked at: what is in the log has happened.
//! What always holds: a transaction is applied as a whole, at its EXEC; times are absolute, a
//! command with a relative one is refused (no log of Redis has them).
//! Not for: live traffic. There are no replies, and no limits but those of the log.

mod dry;
mod hashes;
mod keys;
mod strings;
mod trust;

pub use dry::DryRun;
use trust::Touch;
pub use trust::Trust;

use super::Record;
use super::read::leaves;
use crate::dump;
use crate::extra::{Extra, tag};
use engine::hash::{FieldEdit, SipKey};
use engine::limits::{KEY_MAX, VALUE_MAX};
use engine::{Change, Effect, Full, HashKey, Key, Kind, Meta, OwnedItem, OwnedValue, State};
use protocol::args::{Args, OwnedArgs};
use protocol::resp::{parse_i64, parse_u64};
use std::fmt;

/// What effects are applied to.
pub trait Store {
    /// What a key holds, if it is there.
    fn kind(&mut self, db: usize, key: &[u8]) -> Option<Kind>;

    /// The item under a key, if it is there. Time stands still: what is overdue is there.
    fn item(&mut self, db: usize, key: &[u8]) -> Option<OwnedItem>;

    /// Applies an effect.
    ///
    /// # Errors
    /// There is no room for it.
    fn apply(&mut self, effect: &Effect<'_>) -> Result<(), Full>;

    /// Whether some keys are missing: they were evicted to make room for what was applied.
    fn misses_some(&self) -> bool {
        false
    }

    /// Whether a key is one of them, and nothing since has said all of what it holds.
    fn misses(&mut self, _db: usize, _key: &[u8]) -> bool {
        false
    }

    /// From now on a key is one of them, or isn't.
    fn set_missing(&mut self, _db: usize, _key: &[u8], _missing: bool) {}
}

/// Why a record can't be applied.
#[derive(Debug)]
pub struct ReplayError {
    /// Where the record stands in its file.
    pub offset: u64,
    /// Its command.
    pub command: String,
    /// What is wrong.
    pub problem: ReplayProblem,
}

/// What is wrong with a record.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayProblem {
    /// The command isn't known.
    Unknown,
    /// The arguments aren't those of the command.
    Arguments,
    /// The key holds another kind of value, or not a number.
    Value,
    /// The time isn't absolute.
    Relative,
    /// A database that there isn't.
    Database,
    /// The payload can't be restored.
    Payload(dump::Error),
    /// The key or the value is longer than what is kept.
    TooLong,
    /// There is no room.
    Full,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command '{}': ", self.command)?;
        match &self.problem {
            ReplayProblem::Unknown => f.write_str("it isn't known")?,
            ReplayProblem::Arguments => f.write_str("its arguments are wrong")?,
            ReplayProblem::Value => f.write_str("the key holds another kind of value")?,
            ReplayProblem::Relative => f.write_str("its time isn't absolute")?,
            ReplayProblem::Database => f.write_str("there is no such database")?,
            ReplayProblem::Payload(error) => write!(f, "{error}")?,
            ReplayProblem::TooLong => f.write_str("the key or the value is too long")?,
            ReplayProblem::Full => f.write_str("there is no room")?,
        }
        write!(f, " (at byte {})", self.offset)
    }
}

impl std::error::Error for ReplayError {}

/// The commands that are understood, as they stand in logs.
pub fn commands() -> impl Iterator<Item = &'static str> {
    let own = ["MULTI", "EXEC", "SELECT"];
    tables().flatten().map(|row| row.name).chain(own)
}

fn tables() -> impl Iterator<Item = &'static [Row]> {
    [strings::ROWS, keys::ROWS, hashes::ROWS].into_iter()
}

/// One command.
struct Row {
    name: &'static str,
    /// The fewest arguments, the name included.
    least: usize,
    touch: Touch,
    run: fn(&mut Turn<'_>, Args<'_>) -> Done,
}

type Done = Result<(), ReplayProblem>;

/// Applies records, one after the other.
#[derive(Debug)]
pub struct Replay {
    secret: HashKey,
    sip: SipKey,
    databases: usize,
    db: usize,
    /// The records of a transaction that hasn't ended.
    waiting: Option<Vec<(u64, OwnedArgs, Option<Extra>)>>,
    /// What is known of the keys, once some of the log is lost.
    trust: Option<Trust>,
    /// Records that weren't applied, since their keys had been evicted.
    missed: u64,
    /// Nothing is known of what keys hold, and nothing that rests on it is an error.
    dry: bool,
}

impl Replay {
    /// For a store with this secret and so many databases. Each increment begins with a new one.
    pub const fn new(secret: HashKey, databases: usize) -> Self {
        Self {
            secret,
            sip: secret.0,
            databases,
            db: 0,
            waiting: None,
            trust: None,
            missed: 0,
            dry: false,
        }
    }

    /// Applies a record, or keeps it until its transaction ends.
    ///
    /// # Errors
    /// It can't be applied; what was before it is.
    pub fn record(
        &mut self,
        record: &Record<'_>,
        store: &mut dyn Store,
    ) -> Result<(), ReplayError> {
        let name = record.args.at(0);
        if name.eq_ignore_ascii_case(b"multi") {
            self.waiting = Some(Vec::new());
        } else if name.eq_ignore_ascii_case(b"exec") {
            for (offset, args, note) in self.waiting.take().unwrap_or_default() {
                self.run(offset, args.as_args(), note.as_ref(), store)?;
            }
        } else if let Some(waiting) = &mut self.waiting {
            let args = OwnedArgs::from_args(record.args);
            waiting.push((record.offset, args, record.note.clone()));
        } else {
            self.run(record.offset, record.args, record.note.as_ref(), store)?;
        }
        Ok(())
    }

    /// Records that weren't applied, since what they change had been evicted
    /// ([`Store::misses`]).
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    fn run(
        &mut self,
        offset: u64,
        args: Args<'_>,
        note: Option<&Extra>,
        store: &mut dyn Store,
    ) -> Result<(), ReplayError> {
        let name = args.at(0);
        let done = if name.eq_ignore_ascii_case(b"select") {
            self.found_its_way();
            self.database(args.at(1)).map(|db| self.db = db)
        } else {
            let mut rows = tables().flatten();
            let row = rows.find(|row| name.eq_ignore_ascii_case(row.name.as_bytes()));
            match (row, self.trust.take()) {
                (None, trust) => {
                    self.trust = trust;
                    Err(ReplayProblem::Unknown)
                }
                (Some(row), trust) if args.len() < row.least => {
                    self.trust = trust;
                    Err(ReplayProblem::Arguments)
                }
                (Some(row), None) if store.misses_some() => {
                    let mut trust = Trust::in_all_but_missing();
                    let done = self.run_known(&mut trust, row, (args, note), store);
                    self.missed += trust.skipped();
                    done
                }
                (Some(row), None) => (row.run)(&mut Turn { replay: self, note, store }, args),
                (Some(row), Some(mut trust)) => {
                    let done = self.run_doubting(&mut trust, row, (args, note), store);
                    self.trust = Some(trust);
                    done
                }
            }
        };
        if self.dry && matches!(done, Err(ReplayProblem::Value)) {
            return Ok(());
        }
        done.map_err(|problem| {
            let command = name.get(..name.len().min(64)).unwrap_or_default();
            ReplayError { offset, command: command.escape_ascii().to_string(), problem }
        })
    }

    fn database(&self, number: &[u8]) -> Result<usize, ReplayProblem> {
        let db = parse_u64(number).and_then(|db| usize::try_from(db).ok());
        db.filter(|db| *db < self.databases).ok_or(ReplayProblem::Database)
    }
}

/// One record and what it's applied to.
struct Turn<'t> {
    replay: &'t Replay,
    note: Option<&'t Extra>,
    store: &'t mut dyn Store,
}

impl Turn<'_> {
    fn effect(&mut self, effect: &Effect<'_>) -> Done {
        self.store.apply(effect).map_err(|Full| ReplayProblem::Full)
    }

    fn change(&mut self, key: &[u8], change: Change<'_>) -> Done {
        self.change_in(self.replay.db, key, change)
    }

    fn change_in(&mut self, db: usize, key: &[u8], change: Change<'_>) -> Done {
        let long = matches!(change, Change::Put { value, .. } if value.len() > VALUE_MAX);
        if key.len() > KEY_MAX || long {
            return Err(ReplayProblem::TooLong);
        }
        let key = Key::new(&self.replay.secret, key);
        self.effect(&Effect::Key { db, key, change })
    }

    fn item(&mut self, key: &[u8]) -> Option<OwnedItem> {
        self.store.item(self.replay.db, key)
    }

    /// The string under a key and what is beside it.
    fn string(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Meta)>, ReplayProblem> {
        match self.item(key) {
            None => Ok(None),
            Some(OwnedItem { value: OwnedValue::String(bytes), meta, .. }) => {
                Ok(Some((bytes, meta)))
            }
            Some(_) => Err(ReplayProblem::Value),
        }
    }

    /// Whether the record changes a session.
    fn is_session(&self) -> bool {
        self.note.is_some_and(|note| note.get(tag::SESSION_CHANGE).is_some())
    }

    /// Changes fields, of a session with what the note says.
    fn fields(&mut self, key: &[u8], edits: &[FieldEdit<'_>]) -> Done {
        let Some(note) = self.note.filter(|_| self.is_session()) else {
            return self.change(key, Change::Fields(edits));
        };
        let meta = note.meta(note.deadline());
        if meta.slide.state() == State::Plain || !note.fits(false, false) {
            return Err(ReplayProblem::Arguments);
        }
        let renew = note.get(tag::SESSION_CHANGE) == Some(&[1]);
        self.change(key, Change::Session { meta, user: note.user(), edits, renew, fresh: false })
    }

    /// What the note says of a value without a user, with a deadline.
    fn meta(&self, deadline: Option<u64>, is_string: bool) -> Result<Meta, ReplayProblem> {
        match self.note {
            None => Ok(Meta { deadline, ..Meta::default() }),
            Some(note) if note.user().is_empty() && note.fits(is_string, false) => {
                Ok(note.meta(deadline))
            }
            Some(_) => Err(ReplayProblem::Arguments),
        }
    }
}

/// A moment as text, in units of so many milliseconds. The past is as good as any moment there, and
/// so is what no client can set any more.
fn moment(text: &[u8], unit: i64) -> Result<u64, ReplayProblem> {
    let at = match parse_i64(text) {
        Some(at) => at.saturating_mul(unit),
        None => parse_u64(text).map(|_| i64::MAX).ok_or(ReplayProblem::Arguments)?,
    };
    Ok(at.max(1).cast_unsigned())
}

fn integer(text: &[u8]) -> Result<i64, ReplayProblem> {
    parse_i64(text).ok_or(ReplayProblem::Arguments)
}
