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
mod past;
mod strings;
mod trust;

pub use dry::DryRun;
use trust::Touch;
pub use trust::Trust;

use super::Record;
use super::read::leaves;
use super::record::write_again;
use crate::dump;
use crate::extra::{Extra, tag};
use engine::hash::{FieldEdit, SipKey};
use engine::limits::{DATABASES_MAX, KEY_MAX, VALUE_MAX};
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

    /// Whether to go on without a record that no store of this kind could apply, and without what is
    /// under the keys that it names. If so, this is all that will be heard of it.
    fn leave_out(&mut self, _unfit: &Unfit<'_>) -> bool {
        false
    }
}

/// A record that can't be applied.
#[derive(Debug)]
pub struct Unfit<'a> {
    /// Why, and where it stands.
    pub error: &'a ReplayError,
    args: Args<'a>,
    note: Option<&'a Extra>,
}

impl Unfit<'_> {
    /// Appends the record as it stands in its file.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_again(self.args, self.note, out);
    }
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
    /// A database that no store has.
    NoDatabase,
    /// A database that this store doesn't have, and another with more of them may.
    BeyondDatabases,
    /// The payload can't be restored.
    Payload(dump::Error),
    /// The key or the value is longer than what is kept.
    TooLong,
    /// There is no room.
    Full,
}

impl ReplayError {
    /// Whether another store could apply the record: one with more memory, or more databases.
    pub const fn is_of_the_store(&self) -> bool {
        matches!(self.problem, ReplayProblem::Full | ReplayProblem::BeyondDatabases)
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command '{}': ", self.command)?;
        match &self.problem {
            ReplayProblem::Unknown => f.write_str("it isn't known")?,
            ReplayProblem::Arguments => f.write_str("its arguments are wrong")?,
            ReplayProblem::Value => f.write_str("the key holds another kind of value")?,
            ReplayProblem::Relative => f.write_str("its time isn't absolute")?,
            ReplayProblem::NoDatabase => f.write_str("there is no such database")?,
            ReplayProblem::BeyondDatabases => {
                f.write_str("there is no such database, see `databases`")?;
            }
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
        let row = tables().flatten().find(|row| name.eq_ignore_ascii_case(row.name.as_bytes()));
        let Err(problem) = self.try_run(row, (args, note), store) else { return Ok(()) };
        if self.dry && matches!(problem, ReplayProblem::Value) {
            return Ok(());
        }
        let command = name.get(..name.len().min(64)).unwrap_or_default();
        let command = command.escape_ascii().to_string();
        let error = ReplayError { offset, command, problem };
        if error.is_of_the_store() || !store.leave_out(&Unfit { error: &error, args, note }) {
            return Err(error);
        }
        self.leave_out(row, args, store).map_err(|problem| ReplayError { problem, ..error })
    }

    fn try_run(
        &mut self,
        row: Option<&Row>,
        (args, note): (Args<'_>, Option<&Extra>),
        store: &mut dyn Store,
    ) -> Result<(), ReplayProblem> {
        let Some(row) = row else {
            if !chooses(args) {
                return Err(ReplayProblem::Unknown);
            }
            self.db = self.database(args.at(1))?;
            self.found_its_way();
            return Ok(());
        };
        if args.len() < row.least {
            return Err(ReplayProblem::Arguments);
        }
        match self.trust.take() {
            None if store.misses_some() => {
                let mut trust = Trust::in_all_but_missing();
                let done = self.run_known(&mut trust, row, (args, note), store);
                self.missed += trust.skipped();
                trust.let_miss(store);
                done
            }
            None => (row.run)(&mut Turn { replay: self, note, store }, args),
            Some(mut trust) => {
                let done = self.run_known(&mut trust, row, (args, note), store);
                self.trust = Some(trust);
                done
            }
        }
    }

    fn database(&self, number: &[u8]) -> Result<usize, ReplayProblem> {
        match parse_u64(number).and_then(|db| usize::try_from(db).ok()) {
            Some(db) if db < self.databases => Ok(db),
            Some(db) if db < DATABASES_MAX => Err(ReplayProblem::BeyondDatabases),
            _ => Err(ReplayProblem::NoDatabase),
        }
    }
}

/// Whether a record says which database those after it belong to.
fn chooses(args: Args<'_>) -> bool {
    args.at(0).eq_ignore_ascii_case(b"select")
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
