//! The sessions of one user, over all shards, which are locked at once.
//!
//! What always holds: nobody sees a user's sessions while some of them are ended, so none escapes
//! by getting another key, and as many as are allowed are there afterwards.

use super::{Target, remove, resolve};
use crate::context::Ctx;
use crate::failure::Failure;
use engine::{Entry, KeyHash};

/// One session of a user.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its key.
    pub key: Vec<u8>,
    /// When it was created, or its user signed in, in Unix milliseconds.
    pub created: u64,
    /// When it was used last, in Unix milliseconds; less exact for one without idle timeout.
    pub seen: u64,
    version: u64,
}

/// The live sessions of a user, the oldest first.
///
/// # Errors
/// [`Failure::Beyond`].
pub fn list(ctx: &mut Ctx<'_>, user: &[u8]) -> Result<Vec<Listed>, Failure> {
    ctx.hold_all()?;
    let mut found = Vec::new();
    if user.is_empty() {
        return Ok(found);
    }
    let (db, now) = (ctx.db(), ctx.now);
    for number in 0..ctx.shards.count() {
        let shard = ctx.shards.shard(number);
        shard.sessions_of(db, user, now, &mut |_: KeyHash, entry| {
            found.push(listed(entry, now));
        });
    }
    found.sort_by_key(|listed| (listed.created, listed.version));
    Ok(found)
}

/// Ends the sessions of a user but the one that `except` stands for; how many.
///
/// # Errors
/// [`Failure::Beyond`].
pub fn end_all(ctx: &mut Ctx<'_>, user: &[u8], except: Option<&[u8]>) -> Result<usize, Failure> {
    let kept = match except.map(|name| resolve(ctx, name)).transpose() {
        Ok(Some(Target::Session(name))) => Some(name.into_owned()),
        Err(Failure::Beyond) => return Err(Failure::Beyond),
        _ => None,
    };
    let mut ended = 0;
    for listed in list(ctx, user)? {
        if kept.as_deref() != Some(&listed.key[..]) {
            remove(ctx, &listed.key)?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// Ends the oldest sessions of a user beyond `limit`, but never the one under `kept`.
///
/// # Errors
/// [`Failure::Beyond`].
pub fn make_room(
    ctx: &mut Ctx<'_>,
    user: &[u8],
    limit: Option<usize>,
    kept: &[u8],
) -> Result<(), Failure> {
    let Some(limit) = limit.filter(|_| !user.is_empty()) else { return Ok(()) };
    let mut others = list(ctx, user)?;
    others.retain(|listed| listed.key != kept);
    let excess = (others.len() + 1).saturating_sub(limit.max(1));
    for listed in others.iter().take(excess) {
        remove(ctx, &listed.key)?;
    }
    Ok(())
}

fn listed(entry: Entry<'_>, now: u64) -> Listed {
    let mut key = Vec::new();
    entry.key(&mut key);
    Listed {
        key,
        created: entry.slide().created(),
        seen: seen(&entry, now),
        version: entry.version(),
    }
}

/// When a session was used last: as its deadline tells, or else its recency.
fn seen(entry: &Entry<'_>, now: u64) -> u64 {
    let slide = entry.slide();
    let idle_ms = u64::from(slide.idle_s()) * 1000;
    let told = entry.deadline().filter(|at| idle_ms > 0 && slide.absolute() != Some(*at));
    let seen = match told {
        Some(at) => at.saturating_sub(idle_ms),
        None => now.saturating_sub(entry.idle_ms(now)),
    };
    seen.clamp(slide.created().min(now), now)
}
