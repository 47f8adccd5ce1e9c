//! The log: takes what the journal holds and brings it to a file, then to the disk.
//!
//! Under `always` the syncing thread takes all that waits, appends and syncs it, over and over: one
//! sync serves everybody who came meanwhile. Under the other policies a worker appends at the end
//! of its turn, also while another one does, unless a sync is on its way, which would keep it
//! waiting: then the appending thread does it. Syncs of `everysec` start every half second, and when
//! one takes so long that a second could be lost, replies wait for it: what counts is how old the
//! oldest unsynced byte is when they are about to leave, as the append before may have waited for a
//! disk or a processor.
//! A revocation that somebody waits for is synced at once, under whichever policy, and again one
//! sync serves everybody who came meanwhile. While a snapshot or a rewrite writes, the policy may be
//! to sync nothing else ([`Log::spare`]).
//! What always holds: the journal is called safe only up to what was appended (synced, under
//! `always`) without an error; after one, nothing is appended until a base has all that was lost.

mod increment;
mod policy;

use crate::os::clock::Clock;
use crate::os::wake::Wake;
use node::{Node, Until};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use increment::{Frame, Increment, Medium};
pub use policy::Policy;

/// Time between two syncs of `everysec`.
const SYNC_EVERY: Duration = Duration::from_millis(500);
/// Age (ms) of the oldest unsynced byte at which replies wait for the sync.
const UNSYNCED_MOST_MS: u64 = 900;

/// What the log did, for INFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Bytes of the current increment.
    pub size: u64,
    /// Syncs that were finished.
    pub syncs: u64,
    /// Syncs that are on their way.
    pub syncing: bool,
    /// Syncs of `everysec` that took so long that replies had to wait for them.
    pub delayed: u64,
    /// An append or a sync failed, and nothing has been written since.
    pub failed: bool,
    /// Bytes of records that aren't in the file yet.
    pub waiting: u64,
    /// Bytes of records that aren't on the disk yet.
    pub unsynced: u64,
    /// When (ms) the oldest of them was appended; 0: there is none.
    pub unsynced_since: u64,
}

/// The log of a node.
pub struct Log {
    node: Arc<Node>,
    clock: Clock,
    out: Mutex<Out>,
    /// A position of the journal.
    appended: AtomicU64,
    /// Bytes of the current increment, for who may not wait for its lock.
    size: AtomicU64,
    /// When (ms) the oldest byte was appended that isn't on the disk; 0: there is none. A copy too.
    unsynced_since: AtomicU64,
    policy: AtomicU8,
    /// It's to be `Never` while another file is written (`no-appendfsync-on-rewrite`).
    spares: AtomicBool,
    /// Another file is being written.
    beside: AtomicBool,
    /// Syncs that are on their way.
    syncing: AtomicU32,
    /// The next increment may begin at any moment, and the one before it is synced then.
    turning: AtomicBool,
    /// Changes are logged at all.
    on: AtomicBool,
    failed: AtomicBool,
    syncs: AtomicU64,
    delayed: AtomicU64,
    orders: Mutex<Orders>,
    to_append: Condvar,
    to_sync: Condvar,
    bells: Mutex<Vec<Arc<Wake>>>,
}

/// The current file. Whoever holds its lock is the one who appends.
struct Out {
    increment: Option<Increment>,
    /// The increment that begins at the journal's next cut.
    next: Option<Increment>,
    taken: Vec<u8>,
    /// Bytes of the increment that are on the disk.
    synced_size: u64,
    /// When (ms) the oldest byte was appended that no sync has begun for; 0: there is none.
    unsynced_since: u64,
    /// The same of the bytes that each sync on its way is for.
    syncing_since: Vec<u64>,
}

impl Out {
    /// When (ms) the oldest byte was appended that isn't on the disk yet.
    fn oldest(&self) -> Option<u64> {
        let since = self.syncing_since.iter().chain([&self.unsynced_since]);
        since.copied().filter(|since| *since != 0).min()
    }
}

#[derive(Default)]
struct Orders {
    append: bool,
    sync: bool,
    stop: bool,
}

impl Log {
    /// A log of `node`, which records already, into an increment.
    pub fn new(node: Arc<Node>, increment: Increment, policy: Policy, clock: Clock) -> Self {
        let end = node.journal().safe();
        Self {
            size: AtomicU64::new(increment.size()),
            unsynced_since: AtomicU64::new(0),
            out: Mutex::new(Out {
                synced_size: increment.size(),
                increment: Some(increment),
                next: None,
                taken: Vec::new(),
                unsynced_since: 0,
                syncing_since: Vec::new(),
            }),
            node,
            clock,
            appended: AtomicU64::new(end),
            policy: AtomicU8::new(policy as u8),
            spares: AtomicBool::new(false),
            beside: AtomicBool::new(false),
            syncing: AtomicU32::new(0),
            turning: AtomicBool::new(false),
            on: AtomicBool::new(true),
            failed: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            orders: Mutex::default(),
            to_append: Condvar::new(),
            to_sync: Condvar::new(),
            bells: Mutex::default(),
        }
    }

    /// Starts the two threads that end with [`Log::stop`].
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(self: &Arc<Self>) -> io::Result<Vec<JoinHandle<()>>> {
        let spawn = |name: &str, work: fn(&Self)| {
            let log = Arc::clone(self);
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(move || work(&log))
        };
        Ok(vec![spawn("append", Self::append_on_order)?, spawn("sync", Self::sync_on_order)?])
    }

    /// Rings that bell whenever more is safe than before, by another thread's doing.
    pub fn add_bell(&self, bell: &Arc<Wake>) {
        lock(&self.bells).push(Arc::clone(bell));
    }

    /// Whether changes are logged.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Goes on after [`Log::end`]: the journal records again. What comes before its next cut is kept
    /// nowhere, since the base that is written then has it.
    pub fn begin(&self) {
        let mut out = lock(&self.out);
        out.next = None;
        out.increment = Some(Increment::nowhere());
        self.size.store(0, Ordering::Relaxed);
        (out.synced_size, out.unsynced_since) = (0, 0);
        self.note_oldest(&out);
        self.appended.store(self.node.journal().synced(), Ordering::Release);
        self.node.journal().show_all(false);
        self.failed.store(false, Ordering::Release);
        self.on.store(true, Ordering::Release);
    }

    /// What begins can't be: nothing that is written would last.
    pub fn cannot_begin(&self, why: &str) {
        self.fail("begin", &io::Error::other(why.to_owned()));
    }

    /// The journal records no more: brings what it holds to the disk, then keeps nothing.
    ///
    /// # Errors
    /// What the append or the sync said; it has ended all the same.
    pub fn end(&self) -> io::Result<()> {
        let done = self.flush().and_then(|()| self.close());
        self.on.store(false, Ordering::Release);
        lock(&self.out).increment = None;
        self.size.store(0, Ordering::Relaxed);
        self.failed.store(false, Ordering::Release);
        self.ring();
        done
    }

    /// What a worker does at the end of its turn, before its replies leave.
    #[inline]
    pub fn end_of_turn(&self) {
        // What another worker has taken may not be in the file yet: then it's waited for.
        if self.node.journal().end() <= self.appended.load(Ordering::Acquire) || self.has_failed() {
            return;
        }
        if self.policy() == Policy::Always {
            self.order(|orders| orders.sync = true, &self.to_sync);
        } else if self.is_syncing() || self.turning.load(Ordering::Acquire) {
            self.order(|orders| orders.append = true, &self.to_append);
        } else {
            self.append_waiting(&mut lock(&self.out));
            self.catch_up();
        }
    }

    /// How far the journal has come for replies that leave now. While a second of answered writes
    /// could be lost, or the log has failed, nobody is told of a write of his own that isn't on the
    /// disk; who only reads doesn't wait for that. Late, a sync begins unless one is on its way.
    #[inline]
    pub fn reached(&self) -> Until {
        let reached = self.node.journal().reached();
        let has_failed = self.has_failed();
        if reached.own <= reached.synced || !(has_failed || self.is_late()) {
            return reached;
        }
        if !has_failed && !self.is_syncing() {
            self.hurry();
        }
        Until { own: reached.synced, ..reached }
    }

    /// Has what the journal holds appended and synced at once, under whichever policy.
    pub fn hurry(&self) {
        self.order(|orders| orders.sync = true, &self.to_sync);
    }

    /// Changes the policy from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u8, Ordering::Release);
        self.order(|orders| orders.sync = true, &self.to_sync);
    }

    /// Whether no sync that isn't asked for is to begin while another file is written.
    pub fn spare(&self, spares: bool) {
        self.spares.store(spares, Ordering::Release);
        self.order(|orders| orders.sync = true, &self.to_sync);
    }

    /// Another file is being written from now on, or no more: what wasn't synced meanwhile is then.
    pub fn write_beside(&self, beside: bool) {
        self.beside.store(beside, Ordering::Release);
        if !beside {
            self.order(|orders| orders.sync = true, &self.to_sync);
        }
    }

    /// Appends and syncs all that there is; answers when it's done, or has failed.
    ///
    /// # Errors
    /// What the append or the sync said.
    pub fn flush(&self) -> io::Result<()> {
        self.append_waiting(&mut lock(&self.out));
        self.sync()?;
        self.release();
        if self.has_failed() { Err(io::Error::other("the log has failed before")) } else { Ok(()) }
    }

    /// The increment that begins where the journal is cut next. Most of what is in the one before
    /// it goes to the disk now, so that little is left to be synced between the two.
    pub fn prepare(&self, next: Increment) {
        self.turning.store(true, Ordering::Release);
        lock(&self.out).next = Some(next);
        // What went wrong is remembered in `failed`.
        let _ = self.sync();
        self.ring();
    }

    /// The journal was cut: goes on in the prepared increment, so that no later cut can come before
    /// this one was met.
    pub fn go_on(&self) {
        self.append_waiting(&mut lock(&self.out));
        self.catch_up();
        self.turning.store(false, Ordering::Release);
        self.ring();
    }

    /// The prepared increment, if it wasn't begun: the base that it was for can't be written.
    pub fn unprepare(&self) -> Option<Increment> {
        self.turning.store(false, Ordering::Release);
        lock(&self.out).next.take()
    }

    /// After a failure: forgets what nobody can write. The next base will have it.
    pub fn discard(&self) {
        let mut out = lock(&self.out);
        if !self.has_failed() || out.next.is_some() {
            return;
        }
        let mut taken = std::mem::take(&mut out.taken);
        while self.node.journal().take(&mut taken).is_some() {}
        out.taken = taken;
    }

    /// Ends the current file with what says that all of it is on the disk: damage to it is told
    /// from a torn end then. Nothing may be appended any more.
    ///
    /// # Errors
    /// What the append or the sync said.
    pub fn close(&self) -> io::Result<()> {
        let mut out = lock(&self.out);
        let synced = out.synced_size;
        let Some(mut increment) = out.increment.take().filter(|_| !self.has_failed()) else {
            return Ok(());
        };
        increment.close(synced)
    }

    /// After a failure: a base was written that has all up to the last cut, so the log is whole
    /// again with what comes after it.
    pub fn mended(&self) {
        let mut out = lock(&self.out);
        // Without a next increment the failure came after the cut: the base doesn't have what was
        // lost, and the next rewrite will.
        if !self.has_failed() || out.next.is_none() {
            return;
        }
        while out.next.is_some() {
            let mut taken = std::mem::take(&mut out.taken);
            let cut = self.node.journal().take(&mut taken);
            out.taken = taken;
            match cut {
                Some(cut) if cut.after_cut => {
                    let Some(mut next) = out.next.take() else { break };
                    let synced = next.size();
                    out.unsynced_since = self.clock.now().ms;
                    self.note_oldest(&out);
                    if let Err(error) = next.append(&out.taken, synced, false) {
                        return self.fail("append to", &error);
                    }
                    self.size.store(next.size(), Ordering::Relaxed);
                    out.synced_size = 0;
                    out.increment = Some(next);
                    self.appended.store(cut.end, Ordering::Release);
                }
                // It's in the base.
                Some(_) => {}
                None => break,
            }
        }
        if out.next.is_some() {
            // What came after the cut was lost with the failure.
            return;
        }
        // In this order: from now on there are writes again that nobody hears of too early.
        self.node.journal().show_all(false);
        self.failed.store(false, Ordering::Release);
        drop(out);
        self.release();
        if self.sync().is_ok() && !self.has_failed() {
            crate::log::notice(format_args!("the append-only file is whole again"));
        }
        if self.has_failed() {
            self.node.journal().show_all(true);
        }
        self.ring();
    }

    /// The position up to which everything is on the disk.
    pub fn synced(&self) -> u64 {
        self.node.journal().synced()
    }

    /// Whether an append or a sync has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// What it did.
    pub fn facts(&self) -> Facts {
        Facts {
            size: self.size.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            syncing: self.is_syncing(),
            delayed: self.delayed.load(Ordering::Relaxed),
            failed: self.has_failed(),
            waiting: self.node.journal().waiting_bytes(),
            unsynced: self.node.journal().unsynced_bytes(),
            unsynced_since: self.unsynced_since.load(Ordering::Relaxed),
        }
    }

    /// Syncs, and those that replies had to wait for; asks for no lock.
    pub fn syncs(&self) -> (u64, u64) {
        (self.syncs.load(Ordering::Relaxed), self.delayed.load(Ordering::Relaxed))
    }

    /// Ends the threads, after they have finished what they do.
    pub fn stop(&self) {
        self.order(|orders| orders.stop = true, &self.to_append);
        self.to_sync.notify_all();
    }

    /// The policy that holds at the moment.
    fn policy(&self) -> Policy {
        if self.beside.load(Ordering::Acquire) && self.spares.load(Ordering::Acquire) {
            return Policy::Never;
        }
        Policy::from(self.policy.load(Ordering::Acquire))
    }

    fn is_syncing(&self) -> bool {
        self.syncing.load(Ordering::Acquire) > 0
    }

    fn order(&self, what: impl FnOnce(&mut Orders), who: &Condvar) {
        what(&mut lock(&self.orders));
        who.notify_one();
    }

    /// The appending thread: appends while a sync keeps the workers from doing it.
    fn append_on_order(&self) {
        let mut orders = lock(&self.orders);
        while !orders.stop {
            if !std::mem::take(&mut orders.append) {
                orders = wait(&self.to_append, orders);
                continue;
            }
            drop(orders);
            self.append_waiting(&mut lock(&self.out));
            self.catch_up();
            self.ring();
            orders = lock(&self.orders);
        }
    }

    /// After an append. Somebody may wait for a revocation that is in it; or the policy may have
    /// become `Always` since it began: then nobody has called it safe, nor asked for a sync.
    fn catch_up(&self) {
        if self.policy() == Policy::Always || self.node.journal().owes_sync() {
            self.order(|orders| orders.sync = true, &self.to_sync);
        }
    }

    /// The syncing thread.
    fn sync_on_order(&self) {
        let mut orders = lock(&self.orders);
        while !orders.stop {
            let asked = std::mem::take(&mut orders.sync);
            let policy = self.policy();
            if policy != Policy::EverySecond && !asked {
                orders = wait(&self.to_sync, orders);
                continue;
            }
            drop(orders);
            if asked {
                self.append_waiting(&mut lock(&self.out));
            }
            // What went wrong is remembered in `failed`.
            let _ = self.sync();
            self.release();
            self.ring();
            orders = lock(&self.orders);
            if policy == Policy::EverySecond && !orders.sync && !orders.stop {
                let waited = self.to_sync.wait_timeout(orders, SYNC_EVERY);
                orders = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Appends what the journal holds.
    fn append_waiting(&self, out: &mut Out) {
        if self.has_failed() {
            return;
        }
        while let Some(taken) = self.node.journal().take(&mut out.taken) {
            if taken.after_cut && out.next.is_some() {
                // The old file's last bytes must not be younger on the disk than the new one's.
                if let Some(Err(error)) = out.increment.as_mut().map(Increment::end) {
                    return self.fail("sync", &error);
                }
            }
            if taken.after_cut
                && let Some(next) = out.next.take()
            {
                out.synced_size = next.size();
                out.increment = Some(next);
            }
            let Some(increment) = &mut out.increment else { return };
            let each_synced = self.policy() == Policy::Always;
            let begun = self.clock.now().ms;
            if let Err(error) = increment.append(&out.taken, out.synced_size, each_synced) {
                return self.fail("append to", &error);
            }
            self.size.store(increment.size(), Ordering::Relaxed);
            // A cut alone brings nothing that a sync could be waited for.
            if out.unsynced_since == 0 && !out.taken.is_empty() {
                out.unsynced_since = begun;
                self.note_oldest(out);
            }
            // In this order: who finds it appended needs nobody to tell that it's safe.
            if self.policy() != Policy::Always {
                self.node.journal().set_safe(taken.end);
            }
            self.appended.store(taken.end, Ordering::Release);
        }
        // Also what was appended before under another policy.
        if self.policy() != Policy::Always {
            self.node.journal().set_safe(self.appended.load(Ordering::Acquire));
        }
    }

    /// Whether so much time has passed since the oldest unsynced byte that a reply that left now
    /// could tell of something that is lost a second later. Under `Always` any time is too much:
    /// what another policy called safe may wait still, and who did it waits with it.
    fn is_late(&self) -> bool {
        match self.policy() {
            Policy::Always => true,
            Policy::EverySecond => self.is_over(self.unsynced_since.load(Ordering::Acquire)),
            Policy::Never => false,
        }
    }

    /// Whether replies wait under `EverySecond` for what was appended at that time (ms; 0: nothing).
    fn is_over(&self, since: u64) -> bool {
        since != 0 && self.clock.now().ms.saturating_sub(since) >= UNSYNCED_MOST_MS
    }

    fn note_oldest(&self, out: &Out) {
        self.unsynced_since.store(out.oldest().unwrap_or(0), Ordering::Release);
    }

    /// Syncs what was appended so far. Appending goes on meanwhile.
    fn sync(&self) -> io::Result<()> {
        let (medium, size, position, since) = {
            let mut out = lock(&self.out);
            let position = self.appended.load(Ordering::Acquire);
            if position == self.synced() {
                out.unsynced_since = 0;
                self.note_oldest(&out);
                return Ok(());
            }
            if self.has_failed() {
                return Ok(());
            }
            let Some(increment) = &out.increment else { return Ok(()) };
            let (medium, size) = (increment.medium(), increment.size());
            self.syncing.fetch_add(1, Ordering::AcqRel);
            let since = std::mem::take(&mut out.unsynced_since);
            out.syncing_since.push(since);
            (medium, size, position, since)
        };
        let synced = medium.sync();
        self.syncing.fetch_sub(1, Ordering::AcqRel);
        {
            let mut out = lock(&self.out);
            let this = out.syncing_since.iter().position(|other| *other == since);
            this.map(|this| out.syncing_since.swap_remove(this));
            if synced.is_err() {
                let both = [since, out.unsynced_since];
                out.unsynced_since = both.into_iter().filter(|at| *at != 0).min().unwrap_or(0);
            }
            self.note_oldest(&out);
        }
        if let Err(error) = synced {
            self.fail("sync", &error);
            return Err(error);
        }
        if self.has_failed() {
            // An error of a file is told once, and may have been told to somebody else.
            return Err(io::Error::other("the log has failed meanwhile"));
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        if self.policy() == Policy::EverySecond && self.is_over(since) {
            self.delayed.fetch_add(1, Ordering::Relaxed);
        }
        self.node.journal().set_synced(position);
        self.node.journal().set_safe(position);
        let mut out = lock(&self.out);
        if out.increment.as_ref().is_some_and(|now| now.is_in(&medium)) {
            out.synced_size = out.synced_size.max(size);
        }
        Ok(())
    }

    /// After a sync: what was appended meanwhile is safe too.
    fn release(&self) {
        if self.policy() != Policy::Always && !self.has_failed() {
            self.node.journal().set_safe(self.appended.load(Ordering::Acquire));
        }
    }

    fn fail(&self, what: &str, error: &io::Error) {
        // Whoever only reads goes on; replies that tell of a write never leave.
        self.node.journal().show_all(true);
        let failed_before = self.failed.swap(true, Ordering::AcqRel);
        self.ring();
        if !failed_before {
            crate::log::warning(format_args!(
                "can't {what} the append-only file: {error}; writes are refused from now on"
            ));
        }
    }

    fn ring(&self) {
        lock(&self.bells).iter().for_each(|bell| bell.ring());
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("policy", &self.policy()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(who: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    who.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
