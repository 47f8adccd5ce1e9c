//! The log over a disk that the test holds still, breaks, and looks at.

use super::{Frame, Increment, Log, Medium, Policy};
use crate::os::clock::Clock;
use crate::os::wake::Wake;
use engine::{Arena, Cause, Change, Effect, HashKey, HeapBacking, Key, Meta};
use node::{Format, Limits, Node, NodeConfig, Until};
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// A disk that does one thing at a time, when it's told.
#[derive(Debug, Default)]
struct Disk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    appended: Vec<u8>,
    synced: usize,
    syncs: usize,
    /// A sync has begun and waits to be let through.
    waiting: bool,
    hold: bool,
    broken: bool,
    /// An append has begun and waits to be let through.
    appending: bool,
    hold_append: bool,
    /// An append takes so long (ms) by that clock.
    slow: Option<(Clock, u64)>,
}

impl Disk {
    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        let done = what(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        done
    }

    fn until(&self, what: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !what(state)).unwrap());
    }
}

impl Medium for Disk {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| state.appending = true);
        self.until(|state| !state.hold_append);
        self.with(|state| {
            state.appending = false;
            if state.broken {
                return Err(io::Error::other("the disk is broken"));
            }
            if let Some((clock, ms)) = &state.slow {
                clock.advance_ms(*ms);
            }
            state.appended.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let size = self.with(|state| {
            state.waiting = true;
            state.appended.len()
        });
        self.until(|state| !state.hold);
        self.with(|state| {
            state.waiting = false;
            if state.broken {
                return Err(io::Error::other("the disk is broken"));
            }
            (state.synced, state.syncs) = (size, state.syncs + 1);
            Ok(())
        })
    }

    fn write_ahead(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes as they are.
struct Plain;

impl Frame for Plain {
    fn frame(&mut self, bytes: &[u8], _: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
    }

    fn close(&mut self, synced: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("end {synced}").as_bytes());
    }

    fn before_room(&self, _: u64) -> &'static [u8] {
        b""
    }

    fn room(&self, _: u64, to: u64, _: &mut Vec<u8>) -> u64 {
        to
    }

    fn room_end(&self) -> u64 {
        0
    }

    fn most(&self) -> u64 {
        u64::MAX
    }
}

struct Rig {
    node: Arc<Node>,
    disk: Arc<Disk>,
    log: Arc<Log>,
    clock: Clock,
    threads: Vec<JoinHandle<()>>,
    written: u64,
}

const NOW: u64 = 1_800_000_000_000;

impl Rig {
    fn new(policy: Policy) -> Self {
        let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(64)), 64));
        let limits = Limits { maxmemory: 0, policy: engine::Policy::NoEviction, samples: 5 };
        let secret = HashKey([1, 2]);
        let config =
            NodeConfig { shards: 2, databases: 1, bands: 1, secret, first_version: 0, limits };
        let node = Arc::new(Node::new(arena, config));
        node.start_journal(Format {
            effect: |_, out| out.extend_from_slice(b"record;"),
            select: |_, _| (),
            together: [b"", b""],
        });
        let disk = Arc::new(Disk::default());
        let clock = Clock::manual(NOW * 1000);
        let log = Log::new(Arc::clone(&node), increment(&disk), policy, clock.clone());
        let log = Arc::new(log);
        let threads = log.start().unwrap();
        Self { node, disk, log, clock, threads, written: 0 }
    }

    /// A change; the position after it.
    fn write(&mut self) -> u64 {
        self.written += 1;
        let name = format!("key:{}", self.written);
        let key = Key::new(&self.node.secret(), name.as_bytes());
        let change = Change::Put { value: b"value", meta: Meta::default() };
        let effect = Effect::Key { db: 0, key, change };
        let number = key.hash.shard(2);
        self.node.with_shard(number, |shard| shard.apply(&effect, NOW)).unwrap().unwrap();
        self.node.journal().end()
    }

    /// A change that is in the file; what whoever made it waits for.
    fn append(&mut self) -> Until {
        let safe = self.write();
        self.log.append_waiting(&mut super::lock(&self.log.out));
        Until { safe, own: safe, synced: 0 }
    }

    /// A key is made and deleted; what whoever deleted it waits for.
    fn revoke(&mut self) -> Until {
        self.write();
        let name = format!("key:{}", self.written);
        let key = Key::new(&self.node.secret(), name.as_bytes());
        let effect = Effect::Key { db: 0, key, change: Change::Remove(Cause::Deleted) };
        let number = key.hash.shard(2);
        self.node.with_shard(number, |shard| shard.apply(&effect, NOW)).unwrap().unwrap();
        let safe = self.node.journal().end();
        Until { safe, own: safe, synced: if self.node.journal().owes_sync() { safe } else { 0 } }
    }

    fn safe(&self) -> u64 {
        self.node.journal().safe()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.disk.with(|state| state.hold = false);
        self.log.stop();
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn increment(disk: &Arc<Disk>) -> Increment {
    let medium: Arc<dyn Medium> = Arc::<Disk>::clone(disk);
    Increment::new(medium, Box::new(Plain), 0)
}

#[test]
fn always_is_safe_after_the_sync_and_one_sync_serves_all_who_came_meanwhile() {
    let mut rig = Rig::new(Policy::Always);
    rig.disk.with(|state| state.hold = true);
    let first = rig.write();
    rig.log.end_of_turn();
    rig.disk.until(|state| state.waiting);
    for _ in 0..20 {
        rig.write();
        rig.log.end_of_turn();
    }
    assert_eq!(rig.safe(), 0, "appended, but not on the disk");
    let last = rig.node.journal().end();
    rig.disk.with(|state| state.hold = false);
    rig.disk.until(|state| state.synced as u64 == last);
    assert!(rig.disk.with(|state| state.syncs) <= 3, "a sync for each write");
    rig.log.flush().unwrap();
    assert!(first < last && rig.safe() == last && rig.log.synced() == last);
}

#[test]
fn everysec_is_safe_at_once_and_a_sync_keeps_nobody_waiting() {
    let mut rig = Rig::new(Policy::EverySecond);
    let bell = Arc::new(Wake::new().unwrap());
    rig.log.add_bell(&bell);
    let end = rig.write();
    rig.log.end_of_turn();
    assert_eq!(rig.safe(), end);
    rig.disk.with(|state| state.hold = true);
    rig.write();
    rig.log.end_of_turn();
    rig.log.set_policy(Policy::EverySecond);
    rig.disk.until(|state| state.waiting);
    // Another thread appends now, and what it appended is safe before the sync ends.
    let end = rig.write();
    rig.log.end_of_turn();
    rig.disk.until(|state| state.appended.len() as u64 == end);
    while rig.safe() < end {
        std::thread::yield_now();
    }
}

#[test]
fn a_reply_waits_where_a_second_could_be_lost_when_it_leaves() {
    let mut rig = Rig::new(Policy::EverySecond);
    rig.disk.with(|state| state.hold = true);
    rig.write();
    rig.log.end_of_turn();
    rig.log.hurry();
    rig.disk.until(|state| state.waiting);
    // Half a second into the sync: a write is answered.
    rig.clock.advance_ms(500);
    let early = rig.append();
    assert!(early.is_past(rig.log.reached()));
    // Whoever is kept from sending it until the second is nearly over doesn't send it any more.
    rig.clock.advance_ms(super::UNSYNCED_MOST_MS - 501);
    assert!(early.is_past(rig.log.reached()));
    rig.clock.advance_ms(1);
    assert!(!early.is_past(rig.log.reached()));
    let late = rig.append();
    assert!(!late.is_past(rig.log.reached()));
    assert!(late.seen().is_past(rig.log.reached()), "who reads needn't wait");
    assert_eq!(rig.log.facts().delayed, 0);
    // Not even where each reply is to wait for the disk from now on.
    rig.log.set_policy(Policy::Always);
    assert!(!late.is_past(rig.log.reached()));
    rig.log.set_policy(Policy::EverySecond);
    assert_eq!(rig.log.facts().delayed, 0);
    // The rest is too old as well by the time this sync ends: another one begins.
    rig.clock.advance_ms(super::UNSYNCED_MOST_MS);
    rig.disk.with(|state| state.hold = false);
    while !late.is_past(rig.log.reached()) {
        std::thread::yield_now();
    }
    assert!(rig.log.facts().delayed > 0);
}

#[test]
fn a_reply_that_waits_by_time_alone_has_a_sync_begin() {
    let mut rig = Rig::new(Policy::Never);
    let wrote = rig.append();
    assert!(wrote.is_past(rig.log.reached()));
    // Nobody has asked for a sync, and the thread that does it sleeps: it was told of no policy.
    rig.log.policy.store(Policy::EverySecond as u8, super::Ordering::Release);
    rig.clock.advance_ms(super::UNSYNCED_MOST_MS);
    while !wrote.is_past(rig.log.reached()) {
        std::thread::yield_now();
    }
    assert_eq!(rig.disk.with(|state| state.syncs), 1);
}

#[test]
fn what_another_worker_has_taken_is_waited_for() {
    let mut rig = Rig::new(Policy::EverySecond);
    let safe = rig.write();
    let wrote = Until { safe, own: safe, synced: 0 };
    rig.disk.with(|state| state.hold_append = true);
    std::thread::scope(|scope| {
        scope.spawn(|| rig.log.end_of_turn());
        rig.disk.until(|state| state.appending);
        let other = scope.spawn(|| {
            rig.log.end_of_turn();
            wrote.is_past(rig.log.reached())
        });
        rig.disk.with(|state| state.hold_append = false);
        assert!(other.join().unwrap(), "it would wait until somebody rings");
    });
}

#[test]
fn the_time_that_an_append_takes_counts() {
    let mut rig = Rig::new(Policy::EverySecond);
    let slow = Some((rig.clock.clone(), super::UNSYNCED_MOST_MS));
    rig.disk.with(|state| (state.hold, state.slow) = (true, slow));
    let wrote = rig.append();
    assert_eq!(rig.safe(), wrote.safe);
    assert!(!wrote.is_past(rig.log.reached()), "it's that old already");
    rig.disk.with(|state| state.hold = false);
    rig.log.hurry();
    while !wrote.is_past(rig.log.reached()) {
        std::thread::yield_now();
    }
}

#[test]
fn what_was_revoked_waits_for_the_disk_and_nobody_else_does() {
    for policy in [Policy::EverySecond, Policy::Never] {
        let mut rig = Rig::new(policy);
        let removed = rig.revoke();
        assert_eq!(removed.synced, 0, "nobody holds revocations yet");
        rig.log.flush().unwrap();
        rig.node.journal().hold_revocations(true);
        rig.disk.with(|state| state.hold = true);
        let removed = rig.revoke();
        assert_eq!(removed.synced, removed.safe);
        rig.log.end_of_turn();
        // A sync begins by itself; what others write meanwhile doesn't wait for it.
        rig.disk.until(|state| state.waiting);
        let safe = rig.write();
        let written = Until { safe, own: safe, synced: 0 };
        rig.log.end_of_turn();
        while !written.is_past(rig.node.journal().reached()) {
            std::thread::yield_now();
        }
        assert!(!removed.is_past(rig.node.journal().reached()));
        rig.disk.with(|state| state.hold = false);
        while !removed.is_past(rig.node.journal().reached()) {
            std::thread::yield_now();
        }
        assert!(rig.disk.with(|state| state.synced as u64) >= removed.synced);
    }
}

#[test]
fn while_another_file_is_written_only_what_is_asked_for_is_synced() {
    let mut rig = Rig::new(Policy::Always);
    rig.node.journal().hold_revocations(true);
    rig.log.spare(true);
    rig.log.write_beside(true);
    rig.disk.with(|state| state.hold = true);
    let end = rig.write();
    rig.log.end_of_turn();
    while rig.safe() < end {
        std::thread::yield_now();
    }
    assert_eq!(rig.disk.with(|state| state.synced), 0);
    let until = rig.revoke();
    rig.log.end_of_turn();
    rig.disk.until(|state| state.waiting);
    rig.disk.with(|state| state.hold = false);
    rig.disk.until(|state| state.synced as u64 >= until.synced);
    // Afterwards what was left is synced, and the policy is what it was.
    let end = rig.write();
    rig.log.end_of_turn();
    rig.log.write_beside(false);
    rig.disk.until(|state| state.synced as u64 == end);
    rig.disk.with(|state| state.hold = true);
    let end = rig.write();
    rig.log.end_of_turn();
    rig.disk.until(|state| state.waiting);
    assert!(rig.safe() < end);
}

#[test]
fn revocations_that_come_during_a_sync_get_another_one() {
    let mut rig = Rig::new(Policy::Never);
    rig.node.journal().hold_revocations(true);
    rig.disk.with(|state| state.hold = true);
    rig.revoke();
    rig.log.end_of_turn();
    rig.disk.until(|state| state.waiting);
    let mut last = Until::default();
    for _ in 0..20 {
        last = rig.revoke();
        rig.log.end_of_turn();
    }
    rig.disk.with(|state| state.hold = false);
    while !last.is_past(rig.node.journal().reached()) {
        std::thread::yield_now();
    }
    assert!(rig.disk.with(|state| state.syncs) <= 3, "a sync for each of them");
}

#[test]
fn a_revocation_that_another_thread_appends_gets_its_sync() {
    let mut rig = Rig::new(Policy::Never);
    rig.node.journal().hold_revocations(true);
    rig.disk.with(|state| state.hold = true);
    rig.write();
    rig.log.hurry();
    rig.disk.until(|state| state.waiting);
    // A worker has something appended that isn't a revocation, and another one's is taken along.
    let removed = rig.revoke();
    rig.log.order(|orders| orders.append = true, &rig.log.to_append);
    rig.disk.until(|state| state.appended.len() as u64 == removed.safe);
    rig.log.end_of_turn();
    rig.disk.with(|state| state.hold = false);
    while !removed.is_past(rig.log.reached()) {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_safe_after_a_failure() {
    for policy in [Policy::Always, Policy::EverySecond, Policy::Never] {
        let mut rig = Rig::new(policy);
        let end = rig.write();
        rig.log.end_of_turn();
        rig.log.flush().unwrap();
        rig.disk.with(|state| state.broken = true);
        rig.write();
        rig.log.end_of_turn();
        assert!(rig.log.flush().is_err());
        rig.disk.with(|state| state.broken = false);
        rig.write();
        rig.log.end_of_turn();
        assert!(rig.log.flush().is_err(), "{policy:?}: what was lost is not forgotten");
        assert!(rig.log.has_failed() && rig.safe() == end && rig.log.synced() == end);
    }
}

#[test]
fn a_cut_begins_the_next_file_and_the_old_one_is_on_the_disk_before() {
    let mut rig = Rig::new(Policy::Never);
    let before = rig.write();
    struct Nobody;
    impl engine::Keeper for Nobody {
        fn keep(&mut self, _: usize, _: &[u8], _: engine::Entry<'_>) {}
    }
    let next = Arc::new(Disk::default());
    rig.log.prepare(increment(&next));
    assert_eq!(rig.node.begin_snapshot(true, |_| Box::new(Nobody)), before);
    let after = rig.write();
    rig.log.go_on();
    assert_eq!(rig.disk.with(|state| (state.appended.len(), state.synced)), (7, 7));
    assert_eq!(next.with(|state| state.appended.len()), 7);
    assert_eq!((before, after, rig.safe()), (7, 14, 14));
}

/// Nobody keeps what a snapshot shows.
struct Nobody;
impl engine::Keeper for Nobody {
    fn keep(&mut self, _: usize, _: &[u8], _: engine::Entry<'_>) {}
}

#[test]
fn a_cut_without_changes_leaves_nothing_to_be_synced() {
    let mut rig = Rig::new(Policy::EverySecond);
    let end = rig.write();
    rig.log.flush().unwrap();
    rig.log.prepare(increment(&Arc::new(Disk::default())));
    assert_eq!(rig.node.begin_snapshot(true, |_| Box::new(Nobody)), end);
    rig.log.go_on();
    assert_eq!(super::lock(&rig.log.out).unsynced_since, 0);
}

#[test]
fn a_failure_after_the_cut_is_mended_by_the_next_rewrite_only() {
    // The old file's last sync fails, or the first write to the new file.
    for old_breaks in [true, false] {
        let mut rig = Rig::new(Policy::Never);
        rig.write();
        rig.log.end_of_turn();
        let next = Arc::new(Disk::default());
        rig.log.prepare(increment(&next));
        rig.node.begin_snapshot(true, |_| Box::new(Nobody));
        let broken = if old_breaks { &rig.disk } else { &next };
        broken.with(|state| state.broken = true);
        let broken = Arc::clone(broken);
        rig.write();
        rig.log.go_on();
        assert!(rig.log.has_failed());
        broken.with(|state| state.broken = false);
        rig.log.mended();
        assert!(rig.log.has_failed(), "the base doesn't have what was lost");
        // The next rewrite has all, and what comes after it goes to its increment alone.
        let third = Arc::new(Disk::default());
        rig.log.prepare(increment(&third));
        rig.node.begin_snapshot(true, |_| Box::new(Nobody));
        rig.log.go_on();
        let lengths = || (rig.disk.with(|s| s.appended.len()), next.with(|s| s.appended.len()));
        let before = lengths();
        rig.log.mended();
        assert!(!rig.log.has_failed());
        assert_eq!(lengths(), before);
        let after = rig.write();
        rig.log.end_of_turn();
        assert_eq!(third.with(|state| state.appended.len()), 7);
        assert_eq!(rig.safe(), after);
    }
}

#[test]
fn while_the_log_has_failed_readers_go_on_and_nothing_piles_up() {
    let mut rig = Rig::new(Policy::EverySecond);
    let kept = rig.write();
    rig.log.end_of_turn();
    rig.disk.with(|state| state.broken = true);
    let lost = rig.write();
    rig.log.end_of_turn();
    assert!(rig.log.has_failed());
    let journal = rig.node.journal();
    let wrote = Until { safe: lost, own: lost, synced: 0 };
    assert!(!wrote.is_past(journal.reached()), "a write that was lost is never answered");
    assert!(wrote.seen().is_past(journal.reached()), "what is in memory may be read");
    for _ in 0..3 {
        rig.write();
        assert!(rig.node.journal().waiting_bytes() > 0);
        rig.log.discard();
        assert_eq!(rig.node.journal().waiting_bytes(), 0);
    }
    // A base is on its way: what comes after its cut is kept for its increment.
    let next = Arc::new(Disk::default());
    rig.log.prepare(increment(&next));
    rig.node.begin_snapshot(true, |_| Box::new(Nobody));
    rig.log.go_on();
    let after = rig.write();
    rig.log.discard();
    rig.log.mended();
    assert!(!rig.log.has_failed());
    assert_eq!(next.with(|state| (state.appended.len(), state.synced)), (7, 7));
    assert!(Until { safe: after, own: after, synced: 0 }.is_past(rig.node.journal().reached()));
    assert!(kept < lost && lost < after);
}

#[test]
fn an_increment_that_was_not_begun_can_be_used_later() {
    let mut rig = Rig::new(Policy::EverySecond);
    rig.write();
    let next = Arc::new(Disk::default());
    rig.log.prepare(increment(&next));
    assert_eq!(rig.log.unprepare().map(|spare| spare.size()), Some(0));
    assert!(rig.log.unprepare().is_none());
    rig.write();
    rig.log.end_of_turn();
    assert_eq!(rig.disk.with(|state| state.appended.len()), 14);
}

#[test]
fn a_log_that_is_closed_says_that_all_of_it_is_on_the_disk() {
    let mut rig = Rig::new(Policy::EverySecond);
    rig.write();
    rig.log.flush().unwrap();
    rig.log.close().unwrap();
    let (appended, synced) = rig.disk.with(|state| (state.appended.clone(), state.synced));
    assert_eq!((appended.as_slice(), synced), (&b"record;end 7"[..], 12));
}
