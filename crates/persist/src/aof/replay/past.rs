//! Records that are passed over, since what they change isn't known.
//!
//! The key stays as it last was. But a record that brings its end nearer, or makes a session
//! somebody else's, says enough even so: by the log, nobody was let in by the older state any more.
//! What always holds: by what is passed over a plain key ends no later than the record says, and a
//! session that ends sooner by it, or has another user, or made room for something else, is gone.
//! Not for: records that can't be applied at all; [`super::trust`] removes what those name.

use super::trust::{Touch, Trust, named};
use super::{Replay, ReplayProblem, Row, Store, moment};
use crate::extra::{Extra, tag};
use engine::{Cause, Change, Effect, Full, Key, OwnedItem, State};
use protocol::args::Args;

impl Replay {
    /// Counts a record that isn't applied, and ends what it would have ended.
    pub(super) fn pass_over(
        &self,
        trust: &mut Trust,
        row: &Row,
        (args, note): (Args<'_>, Option<&Extra>),
        store: &mut dyn Store,
    ) -> Result<(), ReplayProblem> {
        trust.skipped += 1;
        if trust.astray {
            named(Some(row.touch), args).for_each(|key| trust.pass_over(key));
        }
        let all = if trust.astray { 0..self.databases } else { self.db..self.db + 1 };
        let says =
            Said { ends: ends(row, args, note), takes_place: row.touch != Touch::Part, note };
        for key in named(Some(row.touch), args) {
            for db in all.clone() {
                let change = store.item(db, key).and_then(|item| says.of(&item));
                let Some(change) = change else { continue };
                let key = Key::new(&self.secret, key);
                let effect = Effect::Key { db, key, change };
                store.apply(&effect).map_err(|Full| ReplayProblem::Full)?;
            }
        }
        Ok(())
    }
}

/// What a record says of its keys that counts even without knowing what they hold.
struct Said<'r> {
    /// When they end (Unix milliseconds), if it says so.
    ends: Option<u64>,
    /// Whether something else stands there from then on.
    takes_place: bool,
    note: Option<&'r Extra>,
}

impl Said<'_> {
    /// How what is there ends sooner by it.
    fn of(&self, item: &OwnedItem) -> Option<Change<'static>> {
        let sooner = self.ends.filter(|at| item.meta.deadline.is_none_or(|ends| *at < ends));
        let state = item.meta.slide.state();
        let gone = match state {
            State::Plain => {
                return sooner.map(|at| Change::Deadline { at: Some(at), slide: false });
            }
            State::Tombstone => false,
            State::Session | State::Alias => match self.note.filter(|note| is_of_session(note)) {
                Some(note) => {
                    let stays = note.meta(None).slide.state() == state && note.user() == item.user;
                    !stays || sooner.is_some()
                }
                None => self.takes_place || sooner.is_some(),
            },
        };
        gone.then_some(Change::Remove(Cause::Deleted))
    }
}

/// The deadline that a record gives its key.
fn ends(row: &Row, args: Args<'_>, note: Option<&Extra>) -> Option<u64> {
    if let Some(note) = note.filter(|note| is_of_session(note)) {
        return note.deadline();
    }
    let unit = match row.name {
        "PEXPIREAT" => 1,
        "EXPIREAT" => 1000,
        _ => return None,
    };
    moment(args.at(2), unit).ok()
}

fn is_of_session(note: &Extra) -> bool {
    note.get(tag::SESSION_CHANGE).is_some()
}
