//! Rules of sessions: what creating, reading, saving, rotating and ending one means.
//!
//! ```text
//! key --(alias, four at most)--> key --> session | tombstone | nothing
//! ```
//!
//! What always holds: conditions are checked, and what can't be merged is refused, before anything
//! changes; an id that was known before its user changed never opens the session again; of what
//! needs shards that aren't locked nothing is done.
//! Not for: parsing requests and writing replies.

mod json;
pub mod merge;
mod rotate;
mod users;

pub use rotate::{Rotation, rotate};
pub use users::{Listed, end_all, list, make_room};

use crate::context::Ctx;
use crate::failure::Failure;
use crate::limits::ALIAS_HOPS_MAX;
use engine::hash::{FieldDeadline, FieldEdit};
use engine::limits::ABSOLUTE_MAX_MS;
use engine::{Applied, Cause, Change, Entry, Key, Meta, Slide, State};
use merge::{Changed, List, Patch, merge};
use std::borrow::Cow;

/// The field of an alias that holds the key that it stands for.
const TARGET: &[u8] = b"";

/// How long a session is to live; what isn't given stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    /// Seconds without use after which it ends; 0 for never.
    pub idle_s: Option<u32>,
    /// Seconds after creation or rotation at which it ends; 0 for never.
    pub max_s: Option<u64>,
    /// The moment at which it ends, in Unix milliseconds; 0 for never. Instead of `max_s`.
    pub at: Option<u64>,
}

impl Life {
    /// The limits that `slide` has then, where `max_s` counts from `base`.
    ///
    /// # Errors
    /// If the absolute deadline lies too far ahead.
    fn of(self, slide: Slide, base: u64) -> Result<Slide, Failure> {
        let slide = self.idle_s.map_or(slide, |idle| slide.with_idle_s(idle));
        let at = match (self.at, self.max_s) {
            (Some(at), _) => at,
            (None, Some(0)) => 0,
            (None, Some(max)) => max.saturating_mul(1000).saturating_add(base),
            (None, None) => return Ok(slide),
        };
        if at > ABSOLUTE_MAX_MS {
            return Err(Failure::text("ERR MAX or EXAT lies too far ahead"));
        }
        Ok(slide.with_absolute((at > 0).then_some(at)))
    }
}

/// What most commands say about a session.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// How long it lives.
    pub life: Life,
    /// Whose it is; the empty name is nobody's.
    pub user: Option<&'a [u8]>,
    /// How many sessions the user may have with this one.
    pub limit: Option<usize>,
    /// The version that it must have.
    pub expected: Option<u64>,
    /// What changes.
    pub patch: Patch<'a>,
    /// What tells the request if it comes twice.
    pub token: Option<&'a [u8]>,
}

/// What a key stands for.
#[derive(Debug)]
pub enum Target<'k> {
    /// Nothing.
    Gone,
    /// A session that got another key for good.
    Rotated,
    /// A session, under this key.
    Session(Cow<'k, [u8]>),
}

/// Follows a key to the session that it stands for.
///
/// # Errors
/// [`Failure::WRONG_TYPE`] if it holds something else; [`Failure::Beyond`].
pub fn resolve<'k>(ctx: &mut Ctx<'_>, name: &'k [u8]) -> Result<Target<'k>, Failure> {
    let mut name = Cow::Borrowed(name);
    let mut owner: Option<Vec<u8>> = None;
    for _ in 0..=ALIAS_HOPS_MAX {
        let is_first = owner.is_none();
        let Some(entry) = met(ctx, &name, false)? else { return Ok(Target::Gone) };
        match entry.slide().state() {
            State::Plain if is_first => return Err(Failure::WRONG_TYPE),
            State::Plain => return Ok(Target::Gone),
            State::Tombstone => return Ok(Target::Rotated),
            State::Session => {
                let same = owner.is_none_or(|owner| owner == entry.user());
                return Ok(if same { Target::Session(name) } else { Target::Rotated });
            }
            State::Alias => {
                owner = Some(entry.user().to_vec());
                let target = entry.hash().and_then(|hash| hash.get(TARGET, 0));
                let Some(target) = target else { return Ok(Target::Gone) };
                name = Cow::Owned(target.value.to_vec());
                ctx.shards.ask_for_more();
            }
        }
    }
    Ok(Target::Gone)
}

/// What stands under a key, whatever it is; a use of it if `used`.
fn met<'c>(ctx: &'c mut Ctx<'_>, name: &[u8], used: bool) -> Result<Option<Entry<'c>>, Failure> {
    let key = ctx.key(name);
    if !ctx.holds(&key) {
        return Err(Failure::Beyond);
    }
    let (db, now) = (ctx.db(), ctx.now);
    Ok(ctx.shard_of(&key).meet(db, &key, now, used))
}

/// Creates a session of exactly these fields; its version, `None` if the key is taken.
///
/// # Errors
/// [`Failure::Full`], [`Failure::Beyond`], a deadline too far ahead.
pub fn create(
    ctx: &mut Ctx<'_>,
    name: &[u8],
    request: &Request<'_>,
    fields: List<'_>,
) -> Result<Option<u64>, Failure> {
    if met(ctx, name, false)?.is_some() {
        return Ok(answered(ctx, name, request.token));
    }
    let user = request.user.unwrap_or_default();
    if request.limit.is_some() && !user.is_empty() {
        ctx.hold_all()?;
    }
    let blank = Slide::default().with_state(State::Session).with_created(ctx.now);
    let slide = request.life.of(blank, ctx.now)?;
    let deadline = slide.slid(ctx.now).or_else(|| slide.absolute());
    let meta = Meta { deadline, slide, ..Meta::default() };
    let edits: Vec<FieldEdit<'_>> =
        fields.pairs().map(|(field, value)| set(field, value)).collect();
    let version = apply(ctx, name, meta, user, &edits, true)?.version;
    make_room(ctx, user, request.limit, name)?;
    settle(ctx, name, meta, (request.token, version))?;
    Ok(Some(version))
}

/// Merges changes into a session, and slides it; its version, `None` if it's gone.
///
/// # Errors
/// If it has another version than expected, or something can't be merged; [`Failure::Full`],
/// [`Failure::Beyond`].
pub fn save(ctx: &mut Ctx<'_>, name: &[u8], request: &Request<'_>) -> Result<Option<u64>, Failure> {
    let Target::Session(name) = resolve(ctx, name)? else { return Ok(None) };
    if let Some(version) = answered(ctx, &name, request.token) {
        return Ok(Some(version));
    }
    let now = ctx.now;
    let Some(entry) = met(ctx, &name, false)? else { return Ok(None) };
    let (version, had) = (entry.version(), entry.meta());
    let changed_user = request.user.filter(|user| *user != entry.user()).is_some();
    let patch = &request.patch;
    check_version(&entry, request.expected)?;
    let base = if had.rotated == 0 { had.slide.created() } else { had.rotated };
    let slide = request.life.of(had.slide, base)?;
    if patch.is_empty() && !changed_user && slide == had.slide {
        met(ctx, &name, true)?;
        return Ok(Some(version));
    }
    let changed = merge(entry.hash(), patch, now)?;
    let user = request.user.unwrap_or_else(|| entry.user()).to_vec();
    let meta = Meta { deadline: rearmed(&had, slide, now), slide, ..had };
    let renew = !patch.is_empty() || changed_user;
    let version = apply(ctx, &name, meta, &user, &edits_of(&changed), renew)?.version;
    let token = request.token.filter(|_| renew);
    settle(ctx, &name, meta, (token, version))?;
    Ok(Some(version))
}

/// Ends what a key stands for; whether that was a session.
///
/// # Errors
/// [`Failure::Full`] never; [`Failure::Beyond`].
pub fn end(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<bool, Failure> {
    let target = match resolve(ctx, name) {
        Err(failure) if failure == Failure::WRONG_TYPE => return Ok(false),
        target => target?,
    };
    let is_alias = met(ctx, name, false)?.is_some_and(|it| it.slide().state() == State::Alias);
    if is_alias {
        remove(ctx, name)?;
    }
    let Target::Session(name) = target else { return Ok(false) };
    remove(ctx, &name)?;
    Ok(true)
}

/// Whether all shards are locked that ending what a key stands for needs.
///
/// # Errors
/// [`Failure::Beyond`].
pub fn reach(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<(), Failure> {
    match resolve(ctx, name) {
        Err(Failure::Beyond) => Err(Failure::Beyond),
        _ => Ok(()),
    }
}

/// Re-arms the idle timeout of a session; whether there is one.
///
/// # Errors
/// [`Failure::Beyond`].
pub fn touch(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<bool, Failure> {
    let target = match resolve(ctx, name) {
        Err(failure) if failure == Failure::WRONG_TYPE => return Ok(false),
        target => target?,
    };
    let Target::Session(name) = target else { return Ok(false) };
    Ok(met(ctx, &name, true)?.is_some())
}

/// Gives any key an idle timeout and an absolute deadline; whether it's there.
///
/// # Errors
/// If the deadline lies too far ahead; [`Failure::Full`].
pub fn slide(ctx: &mut Ctx<'_>, name: &[u8], life: Life) -> Result<bool, Failure> {
    let (key, now) = (ctx.key(name), ctx.now);
    let Some(had) = ctx.peek(&key).map(|entry| entry.meta()) else { return Ok(false) };
    let slide = life.of(had.slide, now)?;
    let meta = Meta { deadline: rearmed(&had, slide, now), slide, ..had };
    ctx.apply(&key, Change::Meta(meta))?;
    Ok(true)
}

/// The deadline of an item whose limits change at `now`, which is a use of it. One that a client
/// set by EXPIRE stays where there is no idle timeout.
fn rearmed(had: &Meta, slide: Slide, now: u64) -> Option<u64> {
    let set = had.deadline.filter(|_| had.slide.idle_s() == 0);
    let set = set.filter(|at| had.slide.absolute() != Some(*at));
    slide.slid(now).or_else(|| slide.bound(set))
}

fn check_version(entry: &Entry<'_>, expected: Option<u64>) -> Result<(), Failure> {
    let version = entry.version();
    if expected.is_some_and(|expected| expected != version) {
        return Err(Failure::made(format!("CONFLICT session version is {version}")));
    }
    Ok(())
}

/// What a request with this token was answered before.
fn answered(ctx: &mut Ctx<'_>, name: &[u8], token: Option<&[u8]>) -> Option<u64> {
    let (db, now) = (ctx.db(), ctx.now);
    let key = ctx.key(name);
    ctx.shard_of(&key).answered(db, &key, token?, now)
}

/// Ends a session that was stored with a deadline in the past, or remembers the answer.
fn settle(
    ctx: &mut Ctx<'_>,
    name: &[u8],
    meta: Meta,
    (token, version): (Option<&[u8]>, u64),
) -> Result<(), Failure> {
    let (db, now) = (ctx.db(), ctx.now);
    if meta.slide.bound(meta.deadline).is_some_and(|at| at <= now) {
        return remove(ctx, name);
    }
    if let Some(token) = token {
        let key = ctx.key(name);
        ctx.shard_of(&key).remember(db, &key, token, version, now);
    }
    Ok(())
}

fn apply(
    ctx: &mut Ctx<'_>,
    name: &[u8],
    meta: Meta,
    user: &[u8],
    edits: &[FieldEdit<'_>],
    renew: bool,
) -> Result<Applied, Failure> {
    let key: Key<'_> = ctx.key(name);
    ctx.apply(&key, Change::Session { meta, user, edits, renew, fresh: false })
}

fn remove(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<(), Failure> {
    let key = ctx.key(name);
    ctx.apply(&key, Change::Remove(Cause::Deleted)).map(|_| ())
}

fn edits_of<'c>(changed: &'c Changed<'_>) -> Vec<FieldEdit<'c>> {
    let edit = |(field, value): (&'c Cow<'_, [u8]>, &'c Option<Cow<'_, [u8]>>)| match value {
        Some(value) => set(field, value),
        None => FieldEdit::Delete { field },
    };
    changed.iter().map(edit).collect()
}

const fn set<'f>(field: &'f [u8], value: &'f [u8]) -> FieldEdit<'f> {
    FieldEdit::Set { field, value, deadline: FieldDeadline::Clear }
}
