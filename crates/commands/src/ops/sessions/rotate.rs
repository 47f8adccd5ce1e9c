//! A session gets another key, with a patch, in one step.
//!
//! What always holds: while a session moves, it's under one of both keys for whoever looks; its
//! version rises, whichever shard it comes to; an alias is left within one user only, and never
//! reveals the new key.

use super::users::make_room;
use super::{
    Request, TARGET, Target, answered, check_version, create, edits_of, met, rearmed, resolve, set,
    settle,
};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::limits::TOMBSTONE_MS;
use crate::ops::sessions::merge::{List, merge};
use engine::{Cause, Change, Meta, OwnedItem, Slide, State};

/// What is asked of a rotation beside the patch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation<'a> {
    /// Milliseconds for which the old key stands for the new one.
    pub grace_ms: u64,
    /// Whether the old key ends for good even so.
    pub hard: bool,
    /// The fields of the session that is created if there is none under the old key.
    pub otherwise: Option<List<'a>>,
}

/// Moves a session from one key to another; its version there, `None` if it's gone.
///
/// # Errors
/// If the new key is taken; those of [`save`](super::save).
pub fn rotate(
    ctx: &mut Ctx<'_>,
    (name, to): (&[u8], &[u8]),
    request: &Request<'_>,
    how: Rotation<'_>,
) -> Result<Option<u64>, Failure> {
    if met(ctx, to, false)?.is_some() {
        let before = answered(ctx, to, request.token);
        return before.map(Some).ok_or(Failure::text("ERR target session exists"));
    }
    let state = met(ctx, name, false)?.map(|entry| entry.slide().state());
    match state {
        Some(State::Session) => move_it(ctx, (name, to), request, how),
        Some(State::Plain) => Err(Failure::WRONG_TYPE),
        // A key that was replaced may be used up, not renewed.
        Some(State::Alias) if matches!(resolve(ctx, name)?, Target::Session(_)) => Ok(None),
        _ => match how.otherwise {
            Some(fields) => create(ctx, to, request, fields),
            None => Ok(None),
        },
    }
}

fn move_it(
    ctx: &mut Ctx<'_>,
    (name, to): (&[u8], &[u8]),
    request: &Request<'_>,
    how: Rotation<'_>,
) -> Result<Option<u64>, Failure> {
    let (now, secret) = (ctx.now, ctx.shards.secret());
    let Some(entry) = met(ctx, name, false)? else { return Ok(None) };
    check_version(&entry, request.expected)?;
    let before = entry.version();
    let changed = merge(entry.hash(), &request.patch, now)?;
    let mut item: OwnedItem = entry.to_owned_item();
    let had = item.meta;
    let owner = std::mem::take(&mut item.user);
    item.user = request.user.map_or_else(|| owner.clone(), <[u8]>::to_vec);
    let signs_in = !item.user.is_empty() && item.user != owner;
    let slide = if signs_in { had.slide.with_created(now) } else { had.slide };
    let slide = request.life.of(slide, now)?;
    let rotated = if slide.created() == now { 0 } else { now };
    item.meta = Meta { deadline: rearmed(&had, slide, now), slide, rotated, ..had };
    item.edit(&secret, &edits_of(&changed));
    if request.limit.is_some() && !item.user.is_empty() {
        ctx.hold_all()?;
    }

    let (from, key, db) = (ctx.key(name), ctx.key(to), ctx.db());
    let answers = ctx.shard_of(&from).answers_of(db, &from, now);
    ctx.shard_of(&key).pass(before);
    let version = ctx.apply(&key, Change::Install(&item))?.version;
    let given_user = request.user.is_some_and(|user| !user.is_empty() || !owner.is_empty());
    let left = if how.hard || how.grace_ms == 0 || given_user { None } else { Some(how.grace_ms) };
    if let Err(full) = leave(ctx, name, left.map(|grace| (to, &owner[..], grace))) {
        // Nothing has ended: it's where it was.
        ctx.apply(&key, Change::Remove(Cause::Moved))?;
        return Err(full);
    }
    // A repeat may come by the old key, which stands for the new one.
    ctx.shard_of(&key).adopt_answers(db, &key, &answers, now);
    make_room(ctx, &item.user, request.limit, to)?;
    settle(ctx, to, item.meta, (request.token, version))?;
    Ok(Some(version))
}

/// Leaves a tombstone under the old key, or an alias: of which key, whose, and for how long.
fn leave(
    ctx: &mut Ctx<'_>,
    name: &[u8],
    alias: Option<(&[u8], &[u8], u64)>,
) -> Result<(), Failure> {
    let (state, user, left) = match alias {
        Some((_, user, grace_ms)) => (State::Alias, user, grace_ms),
        None => (State::Tombstone, &[][..], TOMBSTONE_MS),
    };
    let meta = Meta {
        deadline: Some(ctx.now + left),
        slide: Slide::default().with_state(state),
        ..Meta::default()
    };
    let target = alias.map(|(to, ..)| set(TARGET, to));
    super::apply(ctx, name, meta, user, target.as_slice(), true).map(|_| ())
}
