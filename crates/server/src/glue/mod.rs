//! Between the loop and the node: the service that this server runs.
//!
//! What always holds: nothing is decided here; bytes, times and settings are handed on.

mod admin;
mod host;
mod info;
mod memcached;
mod slow;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use commands::host::{Host, OnDisk};
use commands::memcached::{Counters, Settings};
use commands::{Client, Standing};
use engine::{Arena, HashKey, Policy, VERSION_BITS};
use node::{Chore, Connection, Limits, McAround, McConnection, Node, NodeConfig};

use crate::config::{Config, Store};
use crate::durable::keeper::Durable;
use crate::glue::host::ServerHost;
use crate::latency::Event;
use crate::os::arena::Mapping;
use crate::os::wake::Wake;
use crate::os::{heap, machine, schedule};
use crate::registry::Entry;
use crate::service::{Awaited, Dialect, Now, Served, Service, Until};
use crate::workers::Common;
use crate::workers::acceptor::Stopper;

/// Builds the service from what the shell has: the configuration, the registry and the clock, and
/// the way to end the server.
///
/// # Errors
/// A sentence, if there is no memory to map.
pub fn service(
    store: &Arc<Store>,
    common: &Arc<Common>,
    stopper: &Stopper,
) -> Result<Glue, String> {
    let config = store.config();
    let failed = |error: std::io::Error| format!("can't map the arena: {error}");
    let mapping = Mapping::create("sessile-arena", config.arena_max as usize).map_err(failed)?;
    let drawn = machine::random::<24>().map_err(failed)?;
    let thirds = drawn.as_chunks::<8>().0;
    let third = |i: usize| thirds.get(i).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let node = Node::new(
        Arc::new(Arena::new(Box::new(mapping), usize::MAX)),
        NodeConfig {
            shards: config.shards,
            databases: config.databases as usize,
            bands: bands(&config),
            secret: HashKey([third(0), third(1)]),
            // In the lower half: from there they grow for years.
            first_version: third(2) >> (64 - VERSION_BITS + 1),
            limits: limits(&config),
        },
    );
    let node = Arc::new(node);
    tend_memory(&node).map_err(failed)?;
    let durable = Durable::new(&node, store, common);
    let host = ServerHost::new(Arc::clone(&node), store, durable, common, stopper);
    host.settings_changed();
    Ok(Glue { node, host, generation: Mutex::new(store.generation()) })
}

/// Starts a thread that makes huge pages of what the arena has filled, a little at a time, and has
/// the heap give back what it doesn't use: that costs milliseconds, which no request should wait
/// for. It ends with the node.
fn tend_memory(node: &Arc<Node>) -> std::io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(100);
    const GROUPS_AT_ONCE: usize = 1;
    // Some milliseconds each time in which a worker that needs those pages, or the processor, has to
    // wait, and with it all that came meanwhile: one request in a thousand should notice.
    const PART: u32 = 1024;
    let node = Arc::downgrade(node);
    let work = move || {
        schedule::be_modest();
        let mut next = Instant::now();
        while let Some(node) = node.upgrade() {
            let begun = Instant::now();
            if begun >= next {
                node.arena().join_groups(GROUPS_AT_ONCE);
                next = begun + begun.elapsed().saturating_mul(PART);
            }
            drop(node);
            heap::give_back();
            std::thread::sleep(PAUSE);
        }
    };
    std::thread::Builder::new().name("pages".to_owned()).spawn(work).map(drop)
}

/// Open segments take at most a twentieth of the cap.
fn bands(config: &Config) -> usize {
    let open = engine::SEGMENT_BYTES as u64 * config.shards as u64;
    let cap = if config.maxmemory == 0 { config.arena_max } else { config.maxmemory };
    ((cap / 20 / open.max(1)) as usize).clamp(1, engine::limits::BANDS_MAX)
}

fn limits(config: &Config) -> Limits {
    Limits {
        maxmemory: config.maxmemory,
        policy: Policy::named(&config.maxmemory_policy).unwrap_or_default(),
        samples: (config.maxmemory_samples as usize).max(1) * 2,
    }
}

/// The node and what it asks of the server.
#[derive(Debug)]
pub struct Glue {
    node: Arc<Node>,
    host: ServerHost,
    /// The settings' generation that the node works with.
    generation: Mutex<u64>,
}

/// A connection's state.
#[derive(Debug)]
pub struct Peer {
    connection: Dialogue,
    entry: Arc<Entry>,
}

/// The state of its dialect.
#[derive(Debug)]
enum Dialogue {
    Resp(Box<Connection>),
    Memcached(McConnection),
}

/// A worker's scratch space.
#[derive(Debug, Default)]
pub struct Scratch {
    worker: node::Worker,
    counters: Arc<Counters>,
    settings: Settings,
    served: Arc<admin::Requests>,
    /// The settings' generation that `settings` is of.
    generation: u64,
    /// The last reload that this worker knows of.
    knows: Arc<AtomicU64>,
}

impl Scratch {
    /// Takes over what the configuration says; whether that is new to this worker.
    fn refresh(&mut self, host: &ServerHost) -> bool {
        let generation = host.generation();
        let changed = generation != self.generation;
        if changed {
            self.generation = generation;
            self.settings = memcached::settings(&host.config());
        }
        changed
    }
}

impl Glue {
    /// Loads what the files hold; until then clients are told to wait. To be called once. Answers
    /// whether all is loaded; false if the server was told to end before.
    ///
    /// # Errors
    /// A sentence: what can't be read, and why.
    pub fn load(&self) -> Result<bool, String> {
        self.host.durable.open()
    }

    /// The server is to end: a load that goes on gives up.
    pub fn stop(&self) {
        self.host.durable.stop();
    }

    /// The workers have ended: writes what has to be written.
    ///
    /// # Errors
    /// A sentence: what couldn't be.
    pub fn end(&self) -> Result<(), String> {
        let asked = *self.host.asked_end.lock().unwrap_or_else(PoisonError::into_inner);
        self.host.durable.end(asked.save, asked.prepared)
    }
}

impl Service for Glue {
    type Client = Peer;
    type Worker = Scratch;

    fn worker(&self, index: usize, bell: &Arc<Wake>) -> Scratch {
        self.host.add_bell(bell);
        self.host.durable.add_bell(bell);
        let worker = node::Worker::default();
        self.host.counts(&worker.counters);
        Scratch {
            worker,
            counters: self.host.counters.add(),
            settings: memcached::settings(&self.host.config()),
            served: self.host.served.get(index).map(Arc::clone).unwrap_or_default(),
            knows: self.host.durable.add_worker(),
            ..Scratch::default()
        }
    }

    fn connect(&self, _: &mut Scratch, entry: &Arc<Entry>, _: Now) -> Result<Peer, Vec<u8>> {
        let connection = match entry.dialect {
            Dialect::Memcached => Dialogue::Memcached(McConnection::new(entry.id)),
            Dialect::Resp => {
                let config = self.host.config();
                let client = Client::new(entry.id, config.requirepass.is_empty());
                Dialogue::Resp(Box::new(Connection::new(client, config.proto_max_bulk_len)))
            }
        };
        Ok(Peer { connection, entry: Arc::clone(entry) })
    }

    #[inline]
    fn serve(
        &self,
        worker: &mut Scratch,
        client: &mut Peer,
        input: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> Served {
        let at = node::Now { ms: now.ms, us: now.us };
        let (served, complaint) = match &mut client.connection {
            Dialogue::Resp(connection) => {
                let Scratch { worker, .. } = worker;
                if client.entry.waits() {
                    connection.client.unblocked = client.entry.end_wait();
                }
                let served = self.node.serve(worker, connection, &self.host, input, out, at);
                let database = connection.client.db as u32;
                if client.entry.database.load(Ordering::Relaxed) != database {
                    client.entry.database.store(database, Ordering::Relaxed);
                }
                let standing = Standing::of(&connection.client).bits();
                client.entry.standing.store(standing, Ordering::Relaxed);
                (served, "an HTTP request on the RESP port")
            }
            Dialogue::Memcached(connection) => {
                let around = McAround {
                    world: &self.host,
                    facts: &self.host,
                    settings: &worker.settings,
                    counters: &worker.counters,
                };
                let served = self.node.serve_memcached(connection, &around, input, out, at);
                (served, "an HTTP request or an endless line on the memcached port")
            }
        };
        let seen = client.entry.requests.load(Ordering::Relaxed) + served.requests;
        client.entry.requests.store(seen, Ordering::Relaxed);
        worker.served.add(client.entry.dialect == Dialect::Resp, served.requests);
        Served {
            consumed: served.consumed,
            again: served.again,
            want: served.want,
            close: served.close,
            swallow: served.swallow,
            until: served.until,
            pause_until: served.pause_until,
            waiting: served.waiting,
            complaint: served.http.then_some(complaint),
        }
    }

    #[inline]
    fn foresee(&self, worker: &mut Scratch, client: &Peer, input: &[u8]) {
        match &client.connection {
            Dialogue::Resp(connection) => {
                self.node.foresee(&mut worker.worker, connection, input);
            }
            Dialogue::Memcached(connection) => {
                self.node.foresee_memcached(&mut worker.worker, connection, input);
            }
        }
    }

    #[inline]
    fn foreseen(&self, worker: &mut Scratch) {
        self.node.foreseen(&mut worker.worker);
    }

    fn disconnect(&self, _: &mut Scratch, mut client: Peer) {
        let now = self.host.now();
        if let Dialogue::Resp(connection) = &mut client.connection {
            self.node.forget(connection, &self.host, node::Now { ms: now.ms, us: now.us });
        }
        self.host.count_requests(client.entry.requests.load(Ordering::Relaxed));
    }

    fn lost(&self) -> bool {
        self.host.durable.refuses_writes()
    }

    fn has_come(&self, awaited: Awaited) -> bool {
        match (awaited, self.host.on_disk()) {
            (Awaited::Disk(_), OnDisk::NoLog) => true,
            (Awaited::Disk(position), on_disk) => on_disk.has(position),
            (Awaited::Reload(number), _) => self.host.reloaded(number).is_some(),
            (Awaited::Nothing, _) => false,
        }
    }

    #[inline]
    fn reached(&self) -> Until {
        self.host.durable.reached()
    }

    fn end_of_turn(&self, worker: &mut Scratch, now: Now) -> u64 {
        if worker.refresh(&self.host) {
            // The worker that changed a setting is here first; the lock keeps an older one from
            // being taken over last.
            let mut known = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
            let generation = self.host.generation();
            if generation != *known {
                *known = generation;
                self.node.set_limits(limits(&self.host.config()));
            }
        }
        if self.host.durable.is_loading() {
            // Time stands still for what is in files. Whoever has read them rings.
            let begun = self.host.durable.reload_begun();
            if self.host.durable.is_loading() {
                // It's that reload, or none was.
                worker.knows.store(begun, Ordering::Release);
            }
            return u64::MAX;
        }
        let latency = &self.host.common.latency;
        let mut begun = latency.begin();
        let at = node::Now { ms: now.ms, us: now.us };
        let next = self.node.end_of_turn(at, heap::held(), |chore| {
            let event = match chore {
                Chore::Eviction => Event::Eviction,
                Chore::Expiry => Event::Expiry,
            };
            latency.end(event, begun);
            begun = latency.begin();
        });
        self.host.durable.end_of_turn();
        next
    }
}
