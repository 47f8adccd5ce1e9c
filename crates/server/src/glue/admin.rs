//! What the admin page tells of this server.
//!
//! What always holds: nothing here takes a lock that workers hold for long, or keeps one that they
//! want: shards are looked at by the workers themselves ([`Node::ask_survey`]), and what each worker
//! counts is read as it stands. Keys leave as handles only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use commands::host::SlowEntry;
use commands::table;
use engine::HashKey;
use protocol::args::OwnedArgs;

use super::Glue;
use crate::http::Source;
use crate::http::facts::{Command, Facts, Health, Memory, Slow};
use crate::limits::{HTTP_SLOW, HTTP_SURVEY_MS};
use crate::os::{heap, machine};

/// Requests that one worker served; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Requests {
    resp: AtomicU64,
    memcached: AtomicU64,
}

impl Requests {
    /// Counts requests; for the owning worker only, which needs no locked instruction.
    #[inline]
    pub(super) fn add(&self, resp: bool, requests: u64) {
        let counter = if resp { &self.resp } else { &self.memcached };
        let sum = counter.load(Ordering::Relaxed).wrapping_add(requests);
        counter.store(sum, Ordering::Relaxed);
    }
}

impl Source for Glue {
    fn health(&self) -> Health {
        if self.host.durable.is_loading() {
            return Health::Loading;
        }
        if self.host.durable.refuses_writes() {
            return Health::LogFailed;
        }
        if self.node.is_full() { Health::MemoryFull } else { Health::Serving }
    }

    fn facts(&self) -> Facts {
        self.survey();
        let host = &self.host;
        let registry = &host.common.registry;
        let relaxed = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let totals = host.totals_ever();
        let welcomed = relaxed(&registry.welcomed);
        let commands = totals.commands().map(|total| Command {
            name: total.name.clone(),
            calls: total.calls,
            failed: total.failed,
            rejected: total.rejected,
        });
        let secret = self.node.secret();
        let slow = host.slow.latest(HTTP_SLOW);
        Facts {
            health: self.health(),
            now_ms: host.now().ms,
            started_ms: host.started.ms,
            requests: host.served.iter().fold((0, 0), |(resp, memcached), one| {
                (resp + relaxed(&one.resp), memcached + relaxed(&one.memcached))
            }),
            clients: welcomed.saturating_sub(relaxed(&registry.left)),
            clients_ever: (welcomed, relaxed(&registry.refused), relaxed(&registry.evicted)),
            moved: registry.moved(),
            commands: commands.collect(),
            durations: totals.durations(),
            errors: totals.errors.into_iter().collect(),
            shards: self.node.survey(),
            memory: Memory {
                arena: self.node.arena_bytes(),
                heap: heap::held(),
                clients: relaxed(&registry.buffered),
                limit: self.node.maxmemory(),
                resident: machine::resident().unwrap_or(0),
            },
            clock_steps: host.common.clock.steps(),
            processor_us: machine::processor_us().unwrap_or((0, 0)),
            syncs: host.durable.syncs(),
            slow: slow.iter().map(|entry| told(entry, &secret)).collect(),
        }
    }
}

impl Glue {
    /// Has the workers look at their shards. One that is busy for longer is told as it was.
    fn survey(&self) {
        const STEP: Duration = Duration::from_millis(1);
        self.node.ask_survey();
        self.host.ring();
        for _ in 0..HTTP_SURVEY_MS {
            if self.node.is_surveyed() {
                return;
            }
            std::thread::sleep(STEP);
        }
    }
}

/// What may be told of a slow command: names that we know, and a handle of its first key.
fn told(entry: &SlowEntry, secret: &HashKey) -> Slow {
    let mut args = OwnedArgs::default();
    entry.args.iter().for_each(|arg| args.push(arg));
    let args = args.as_args();
    let row = table::find(args.at(0));
    let sub = row.and_then(|row| table::find_subcommand(row, args.at(1)));
    let names = [row, sub].into_iter().flatten().map(|row| row.name.to_ascii_lowercase());
    let first = sub.or(row).and_then(|row| row.keys.positions(args).next());
    Slow {
        id: entry.id,
        at_s: entry.at,
        microseconds: entry.microseconds,
        command: names.collect::<Vec<_>>().join(" "),
        key: first.map(|at| handle(args.at(at), secret)).unwrap_or_default(),
    }
}

/// What stands for a key whose name may be a secret: its prefix up to the first colon, if that is a
/// plain word, and six digits that tell keys apart until the server ends.
fn handle(key: &[u8], secret: &HashKey) -> String {
    const PREFIX_MAX: usize = 16;
    let is_plain = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b'.');
    let colon = key.iter().take(PREFIX_MAX + 1).position(|byte| *byte == b':');
    let prefix = colon.and_then(|at| key.get(..at)).filter(|word| word.iter().all(is_plain));
    let prefix = prefix.map(|word| format!("{}:", String::from_utf8_lossy(word)));
    format!("{}#{:06x}", prefix.unwrap_or_default(), secret.hash(key).0 & 0xff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(args: &[&str]) -> (String, String) {
        let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let slow = told(&SlowEntry { args, ..SlowEntry::default() }, &HashKey([1, 2]));
        (slow.command, slow.key)
    }

    #[test]
    fn slow_commands_tell_no_value_and_no_key() {
        for (args, command, prefix) in [
            (&["GET", "session:0123456789abcdef"][..], "get", "session:#"),
            (&["SET", "0123456789abcdef", "secret"], "set", "#"),
            (&["get", ":1:django.contrib.sessions.cacheabcdef"], "get", ":#"),
            (&["GET", "a1b2:x"], "get", "#"),
            (&["GET", "averyverylongwordbefore:x"], "get", "#"),
            (&["session.load", "abc"], "session.load", "#"),
            (&["CONFIG", "SET", "requirepass", "secret"], "config set", ""),
            (&["secret", "secret"], "", ""),
            (&[], "", ""),
        ] {
            let (name, key) = slow(args);
            assert_eq!(name, command);
            assert!(key.starts_with(prefix), "{key}");
            assert_eq!(key.len(), if prefix.is_empty() { 0 } else { prefix.len() + 6 }, "{key}");
        }
        assert_eq!(slow(&["GET", "a"]).1, slow(&["SET", "a", "b"]).1);
        assert_ne!(slow(&["GET", "a"]).1, slow(&["GET", "b"]).1);
    }
}
