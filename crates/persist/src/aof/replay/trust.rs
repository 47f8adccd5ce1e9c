//! Replay after something of the log was lost.
//!
//! A key is *known* if nothing that happened to it since is missing. Records that change a part of
//! a value are applied to known keys only; one that states all of a value, or removes it, makes its
//! key known. What isn't known stays as it last was, or goes.
//! What always holds: a key has a value that it had at some moment, or none; what a record that can
//! be read removes is removed. Values of different keys may be of different moments: a transaction
//! may be there in part. Of a record that can't be applied the keys go that it names, and aren't
//! known; where it can't be told what it did, nothing is.
//! Not for: finding out what is lost. Whoever reads says so.

use super::{Replay, ReplayError, ReplayProblem, Row, Store, Turn, chooses};
use crate::extra::{Extra, tag};
use engine::limits::KEY_MAX;
use engine::{Cause, Change, Effect, Key, State};
use protocol::args::Args;
use std::collections::HashSet;

/// What a command does to keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Touch {
    /// It removes all that it names.
    Removes,
    /// It says all of what its key holds, unless an option keeps a part.
    Whole,
    /// It says all of what several keys hold.
    Pairs,
    /// It changes a part of what its key holds.
    Part,
    /// It takes one key's value to another key.
    Moves,
    /// It takes one key's value to another key and leaves it.
    Copies,
    /// It takes a key to another database.
    Leaves,
    /// It empties its database.
    Database,
    /// It empties all databases.
    Everything,
    /// Two databases change places.
    Swaps,
}

/// What is known of the keys.
#[derive(Debug, Default)]
pub struct Trust {
    known: HashSet<(usize, Vec<u8>)>,
    /// Databases of which each key is known, since they were emptied.
    whole: HashSet<usize>,
    /// Each key is known that isn't missing, nor one of `lost`.
    all: bool,
    /// Keys that aren't known, whatever else is.
    lost: HashSet<(usize, Vec<u8>)>,
    /// What is in the store is known: only what isn't there may have been lost.
    present: bool,
    /// The database that records belong to isn't known.
    pub(super) astray: bool,
    /// Records that weren't applied.
    pub(super) skipped: u64,
}

impl Trust {
    /// Some keys are lost; those in the store are known.
    pub fn in_what_is_there() -> Self {
        Self { present: true, ..Self::default() }
    }

    /// The same after so many records that weren't applied.
    #[must_use]
    pub fn having_skipped(self, skipped: u64) -> Self {
        Self { skipped, ..self }
    }

    /// Records that weren't applied, since what they change isn't known.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Nothing of the log is lost yet; what was evicted meanwhile isn't known.
    pub(super) fn in_all_but_missing() -> Self {
        Self { all: true, ..Self::default() }
    }

    fn knows(&self, db: usize, key: &[u8], store: &mut dyn Store) -> bool {
        let place = (db, key.to_vec());
        if self.astray || self.lost.contains(&place) || store.misses(db, key) {
            return false;
        }
        self.all
            || self.whole.contains(&db)
            || self.known.contains(&place)
            || self.present && store.kind(db, key).is_some()
    }

    fn learn(&mut self, db: usize, key: &[u8], store: &mut dyn Store) {
        store.set_missing(db, key, false);
        let place = (db, key.to_vec());
        self.lost.remove(&place);
        if !self.all {
            self.known.insert(place);
        }
    }

    /// A key holds what nobody can say; it has to be removed.
    fn forget(&mut self, db: usize, key: &[u8]) {
        let place = (db, key.to_vec());
        self.known.remove(&place);
        self.lost.insert(place);
    }

    /// What a key holds in a database that isn't known is passed over: what was known of emptied
    /// databases isn't any more of this key.
    pub(super) fn pass_over(&mut self, key: &[u8]) {
        for db in self.whole.clone() {
            self.forget(db, key);
        }
    }

    /// What was forgotten is missing, for whoever comes after this.
    pub(super) fn let_miss(self, store: &mut dyn Store) {
        self.lost.iter().for_each(|(db, key)| store.set_missing(*db, key, true));
    }

    /// A database was emptied.
    fn clear(&mut self, db: usize) {
        self.whole.insert(db);
        self.lost.retain(|(of, _)| *of != db);
    }

    fn swap(&mut self, a: usize, b: usize) {
        let other = |db| {
            if db == a {
                b
            } else if db == b {
                a
            } else {
                db
            }
        };
        for keys in [&mut self.known, &mut self.lost] {
            let moved = std::mem::take(keys);
            *keys = moved.into_iter().map(|(db, key)| (other(db), key)).collect();
        }
        self.whole = self.whole.iter().map(|db| other(*db)).collect();
    }
}

impl Replay {
    /// Goes on with what is known from before.
    pub fn trusting(self, trust: Option<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// Some of the log is lost here: from now on nothing is known.
    pub fn doubt(&mut self) {
        self.know_nothing();
        self.trust.iter_mut().for_each(|trust| trust.astray = true);
        self.waiting = None;
    }

    /// From now on no key is known.
    fn know_nothing(&mut self) {
        let (skipped, astray) =
            self.trust.take().map_or((0, false), |trust| (trust.skipped, trust.astray));
        self.trust = Some(Trust { skipped, astray, ..Trust::default() });
    }

    /// What is known in the end; `None` if nothing was ever lost.
    pub fn into_trust(self) -> Option<Trust> {
        self.trust
    }

    /// After [`Replay::doubt`], what only looks like a record that removes keys: removes them.
    ///
    /// # Errors
    /// Never for want of room.
    pub fn remove_lost(&self, args: Args<'_>, store: &mut dyn Store) -> Result<(), ReplayError> {
        let keys = args.from(1);
        let count = if super::leaves(args.at(0)) { 1 } else { usize::MAX };
        let removed =
            keys.iter().take(count).try_for_each(|key| self.remove_everywhere(key, store));
        removed.map_err(|problem| ReplayError { offset: 0, command: String::new(), problem })
    }

    /// Goes on without a record that can't be applied. What stands under the keys that it names goes:
    /// it may have removed them.
    pub(super) fn leave_out(
        &mut self,
        row: Option<&Row>,
        args: Args<'_>,
        store: &mut dyn Store,
    ) -> Result<(), ReplayProblem> {
        if chooses(args) {
            self.doubt();
            return Ok(());
        }
        let touch = row.map(|row| row.touch);
        if matches!(touch, None | Some(Touch::Database | Touch::Everything | Touch::Swaps)) {
            self.know_nothing();
        }
        let mut trust = self.trust.take().unwrap_or_else(Trust::in_all_but_missing);
        let elsewhere = matches!(touch, None | Some(Touch::Copies | Touch::Leaves));
        let all = if elsewhere || trust.astray { 0..self.databases } else { self.db..self.db + 1 };
        let done = named(touch, args).try_for_each(|key| {
            all.clone().try_for_each(|db| {
                // Where nothing is known, there is nothing to forget.
                if touch.is_some() {
                    trust.forget(db, key);
                }
                self.remove(db, key, store)
            })
        });
        self.trust = Some(trust);
        done
    }

    /// A database was chosen.
    pub(super) const fn found_its_way(&mut self) {
        if let Some(trust) = &mut self.trust {
            trust.astray = false;
        }
    }

    /// Applies a record as far as what is known allows.
    pub(super) fn run_known(
        &self,
        trust: &mut Trust,
        row: &Row,
        (args, mut note): (Args<'_>, Option<&Extra>),
        store: &mut dyn Store,
    ) -> Result<(), ReplayProblem> {
        if trust.astray {
            return self.run_astray(trust, row, (args, note), store);
        }
        let (db, key) = (self.db, args.at(1));
        match row.touch {
            Touch::Removes => {
                args.from(1).iter().for_each(|key| trust.learn(db, key, store));
                // What an alias stands for may be something else by now: it goes without one.
                let leaves = |note: &&Extra| note.meta(None).slide.state() == State::Tombstone;
                note = note.filter(|note| trust.all || leaves(note));
            }
            Touch::Whole if keeps_deadline(args) && !trust.knows(db, key, store) => {
                return self.pass_over(trust, row, (args, note), store);
            }
            Touch::Whole | Touch::Pairs => {
                named(Some(row.touch), args).for_each(|key| trust.learn(db, key, store));
            }
            Touch::Part if trust.knows(db, key, store) => {}
            Touch::Part if note.is_some_and(is_fresh) => {
                // What is there instead was removed by what is lost.
                self.remove(db, key, store)?;
                trust.learn(db, key, store);
            }
            Touch::Part => {
                return self.pass_over(trust, row, (args, note), store);
            }
            Touch::Moves | Touch::Copies | Touch::Leaves => {
                return self.take_along(trust, row, (args, note), store);
            }
            Touch::Database => trust.clear(db),
            Touch::Everything => (0..self.databases).for_each(|db| trust.clear(db)),
            Touch::Swaps => trust.swap(self.database(args.at(1))?, self.database(args.at(2))?),
        }
        self.apply(row, args, note, store)
    }

    /// The same where it isn't known in which database: what is removed is removed in each.
    fn run_astray(
        &self,
        trust: &mut Trust,
        row: &Row,
        (args, note): (Args<'_>, Option<&Extra>),
        store: &mut dyn Store,
    ) -> Result<(), ReplayProblem> {
        match row.touch {
            Touch::Removes => {
                args.from(1).iter().try_for_each(|key| self.remove_everywhere(key, store))
            }
            Touch::Whole | Touch::Pairs | Touch::Part => {
                self.pass_over(trust, row, (args, note), store)
            }
            Touch::Moves | Touch::Copies | Touch::Leaves => {
                self.take_along(trust, row, (args, note), store)
            }
            Touch::Database | Touch::Everything => {
                // Any of them may be the one.
                if row.touch == Touch::Everything {
                    (0..self.databases).for_each(|db| trust.clear(db));
                }
                let mut clear = (0..self.databases).map(|db| Effect::Clear { db });
                clear.try_for_each(|effect| store.apply(&effect).map_err(|_| ReplayProblem::Full))
            }
            Touch::Swaps => {
                trust.swap(self.database(args.at(1))?, self.database(args.at(2))?);
                self.apply(row, args, note, store)
            }
        }
    }

    /// A value goes from one key to another: if it isn't known, neither is there.
    fn take_along(
        &self,
        trust: &mut Trust,
        row: &Row,
        (args, note): (Args<'_>, Option<&Extra>),
        store: &mut dyn Store,
    ) -> Result<(), ReplayProblem> {
        let db = self.db;
        let (from, second) = (args.at(1), args.at(2));
        let (to_db, to) = match row.touch {
            Touch::Leaves => (self.database(second)?, from),
            _ => (self.target_database(args)?, second),
        };
        if trust.knows(db, from, store) {
            trust.learn(to_db, to, store);
            trust.learn(db, from, store);
            return self.apply(row, args, note, store);
        }
        trust.skipped += 1;
        let goes = row.touch != Touch::Copies;
        if trust.astray {
            trust.pass_over(to);
            self.remove_everywhere(to, store)?;
            return if goes { self.remove_everywhere(from, store) } else { Ok(()) };
        }
        self.remove(to_db, to, store)?;
        // After it: a key that was removed is one that isn't there.
        trust.forget(to_db, to);
        if goes {
            trust.learn(db, from, store);
            self.remove(db, from, store)?;
        }
        Ok(())
    }

    /// Where COPY puts its copy.
    fn target_database(&self, args: Args<'_>) -> Result<usize, ReplayProblem> {
        let mut words = args.from(3).iter();
        match words.find(|word| word.eq_ignore_ascii_case(b"db")) {
            Some(_) => self.database(words.next().unwrap_or_default()),
            None => Ok(self.db),
        }
    }

    fn apply(
        &self,
        row: &Row,
        args: Args<'_>,
        note: Option<&Extra>,
        store: &mut dyn Store,
    ) -> Result<(), ReplayProblem> {
        (row.run)(&mut Turn { replay: self, note, store }, args)
    }

    fn remove_everywhere(&self, key: &[u8], store: &mut dyn Store) -> Result<(), ReplayProblem> {
        (0..self.databases).try_for_each(|db| self.remove(db, key, store))
    }

    fn remove(&self, db: usize, key: &[u8], store: &mut dyn Store) -> Result<(), ReplayProblem> {
        let key = Key::new(&self.secret, key);
        let effect = Effect::Key { db, key, change: Change::Remove(Cause::Deleted) };
        store.apply(&effect).map_err(|_| ReplayProblem::Full)
    }
}

/// The keys that a record names, as far as its command is known.
pub(super) fn named<'a>(touch: Option<Touch>, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    let (step, most) = match touch {
        None | Some(Touch::Removes) => (1, usize::MAX),
        // Where one is missing, nobody knows which ones are keys.
        Some(Touch::Pairs) if args.len().is_multiple_of(2) => (1, usize::MAX),
        Some(Touch::Pairs) => (2, usize::MAX),
        Some(Touch::Whole | Touch::Part | Touch::Leaves) => (1, 1),
        Some(Touch::Moves | Touch::Copies) => (1, 2),
        Some(Touch::Database | Touch::Everything | Touch::Swaps) => (1, 0),
    };
    let keys = (1..args.len()).step_by(step).take(most).map(move |at| args.at(at));
    // There is none that is longer.
    keys.filter(|key| key.len() <= KEY_MAX)
}

/// Whether a session begins: what is said of it is all that there is.
fn is_fresh(note: &Extra) -> bool {
    note.get(tag::FRESH).is_some()
}

/// Whether the options of a SET leave the key's deadline as it was.
fn keeps_deadline(args: Args<'_>) -> bool {
    let is_set = args.at(0).eq_ignore_ascii_case(b"set");
    is_set && args.from(3).iter().any(|word| word.eq_ignore_ascii_case(b"keepttl"))
}
