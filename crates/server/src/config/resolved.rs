//! What the server runs by: every setting typed, complete and checked against the others.

use crate::live::Live;
use crate::log::Level;
use crate::os::machine;
use std::sync::atomic::Ordering::Relaxed;

use super::settings::Settings;

/// The resolved configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// TCP port for RESP; 0: none.
    pub port: u16,
    /// TCP port for memcached; 0: none.
    pub memcached_port: u16,
    /// Where to listen.
    pub bind: Vec<Bind>,
    /// TCP port of the admin page; 0: none.
    pub http_port: u16,
    /// Where it listens.
    pub http_bind: Vec<Bind>,
    /// It may listen where other machines reach it.
    pub http_allow_remote: bool,
    /// Names that it answers to, in lower case.
    pub http_hosts: Vec<String>,
    /// Unix socket for RESP; empty: none.
    pub unixsocket: String,
    /// Unix socket for memcached; empty: none.
    pub memcached_unixsocket: String,
    /// Permissions of the Unix sockets; 0: by the umask.
    pub unixsocketperm: u32,
    /// Connections that may wait to be accepted.
    pub tcp_backlog: u32,
    /// Seconds of silence before TCP probes; 0: none.
    pub tcp_keepalive_s: u32,
    /// Seconds after which an idle client is closed; 0: never.
    pub timeout_s: u64,
    /// Clients at a time.
    pub maxclients: usize,
    /// Serve only this machine while there is no password.
    pub protected_mode: bool,
    /// The password; empty: none.
    pub requirepass: String,
    /// Commands with another name; an empty one takes the command away.
    pub renamed_commands: Vec<(String, String)>,
    /// Who may use DEBUG.
    pub debug_command: Allowed,
    /// Who may change protected directives.
    pub protected_configs: Allowed,
    /// Bytes of requests that one client may have waiting.
    pub client_query_buffer: usize,
    /// Bounds of unread replies of ordinary clients.
    pub output_normal: OutputLimit,
    /// Bounds of unread replies of subscribers.
    pub output_pubsub: OutputLimit,
    /// Bytes of all clients' buffers together.
    pub maxmemory_clients: u64,
    /// Bytes of one argument of a request.
    pub proto_max_bulk_len: usize,
    /// Worker threads.
    pub workers: usize,
    /// Databases for SELECT.
    pub databases: u32,
    /// Run in the background.
    pub daemonize: bool,
    /// File that holds the process id; empty: none.
    pub pidfile: String,
    /// Least level of a line in the log.
    pub loglevel: Level,
    /// File of the log; empty: standard output.
    pub logfile: String,
    /// Directory of data files.
    pub dir: String,
    /// Seconds without any client after which the server ends; 0: never.
    pub exit_when_idle: u64,
    /// Log every change.
    pub appendonly: bool,
    /// When the log's bytes go to the disk: `always`, `everysec` or `no`.
    pub appendfsync: String,
    /// Who revokes something waits for the disk.
    pub session_revocation_fsync: bool,
    /// How the log's files are called.
    pub appendfilename: String,
    /// Their folder, in `dir`.
    pub appenddirname: String,
    /// Whether the log is synced by no policy while a snapshot or a rewrite writes.
    pub no_appendfsync_on_rewrite: bool,
    /// Growth (percent) at which the log's base is written anew; 0: never.
    pub auto_aof_rewrite_percentage: u64,
    /// Bytes below which that isn't done.
    pub auto_aof_rewrite_min_size: u64,
    /// Whether what a crash left at the log's end may be cut.
    pub aof_load_truncated: bool,
    /// Whether bases are RDB; they always are.
    pub aof_use_rdb_preamble: bool,
    /// Save points: seconds and changes, in turn.
    pub save: String,
    /// The file of snapshots.
    pub dbfilename: String,
    /// Whether strings in snapshots are compressed.
    pub rdbcompression: bool,
    /// Microseconds from which a command is slow; negative: never.
    pub slowlog_log_slower_than_us: i64,
    /// Slow commands remembered.
    pub slowlog_max_len: usize,
    /// Milliseconds from which an event is remembered; 0: never.
    pub latency_monitor_threshold_ms: u64,
    /// Measure commands.
    pub latency_tracking: bool,
    /// Cap on all memory; 0: the arena's size.
    pub maxmemory: u64,
    /// Eviction policy, by Redis' name.
    pub maxmemory_policy: String,
    /// Candidates compared.
    pub maxmemory_samples: u32,
    /// LFU counter's steepness.
    pub lfu_log_factor: u32,
    /// LFU counter's decay, minutes.
    pub lfu_decay_time_min: u32,
    /// Bytes of address space for the arena.
    pub arena_max: u64,
    /// Independent parts of the store.
    pub shards: usize,
    /// Largest value of memcached clients.
    pub memcached_max_item_size: usize,
    /// Fields of a packed hash.
    pub hash_max_listpack_entries: usize,
    /// Bytes of a field or value of a packed hash.
    pub hash_max_listpack_value: usize,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// A name or number.
    pub host: String,
    /// It may be missing on this machine.
    pub optional: bool,
}

/// Who may do something dangerous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Clients on this machine.
    Local,
}

/// Bounds of the replies that wait for one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes that close it at once; 0: none do.
    pub hard: u64,
    /// Bytes that close it after a while; 0: none do.
    pub soft: u64,
    /// How long that while is.
    pub soft_s: u64,
}

impl Config {
    /// Resolves settings; what they leave to the machine is filled in there too.
    pub fn resolve(settings: &mut Settings) -> Result<Self, (&'static str, String)> {
        settings.fill("io-threads", machine::cores().clamp(1, 8) as u64);
        let workers = settings.size("io-threads");
        settings.fill("shards", (workers * 4).min(16));
        settings.fill("arena-max", machine::memory());
        let s = &*settings;
        if s.size("maxmemory") > s.size("arena-max") {
            return Err(("maxmemory", "argument must not exceed arena-max".to_owned()));
        }
        Ok(Self {
            port: narrow(s.number("port")),
            memcached_port: narrow(s.number("memcached-port")),
            bind: binds(s.value("bind")),
            http_port: narrow(s.number("http-port")),
            http_bind: binds(s.value("http-bind")),
            http_allow_remote: s.is_set("http-allow-remote"),
            http_hosts: words(s.value("http-hosts")),
            unixsocket: s.value("unixsocket").to_owned(),
            memcached_unixsocket: s.value("memcached-unixsocket").to_owned(),
            unixsocketperm: u32::from_str_radix(s.value("unixsocketperm"), 8).unwrap_or(0),
            tcp_backlog: narrow(s.number("tcp-backlog")),
            tcp_keepalive_s: narrow(s.number("tcp-keepalive")),
            timeout_s: s.size("timeout"),
            maxclients: narrow(s.number("maxclients")),
            protected_mode: s.is_set("protected-mode"),
            requirepass: s.value("requirepass").to_owned(),
            renamed_commands: renames(s.value("rename-command")),
            debug_command: allowed(s.value("enable-debug-command")),
            protected_configs: allowed(s.value("enable-protected-configs")),
            client_query_buffer: narrow(s.number("client-query-buffer-limit")),
            output_normal: output(s.value("client-output-buffer-limit"), "normal"),
            output_pubsub: output(s.value("client-output-buffer-limit"), "pubsub"),
            maxmemory_clients: buffers(s),
            proto_max_bulk_len: narrow(s.number("proto-max-bulk-len")),
            workers: narrow(s.number("io-threads")),
            databases: narrow(s.number("databases")),
            daemonize: s.is_set("daemonize"),
            pidfile: s.value("pidfile").to_owned(),
            loglevel: level(s.value("loglevel")),
            logfile: s.value("logfile").to_owned(),
            dir: s.value("dir").to_owned(),
            exit_when_idle: s.size("exit-when-idle"),
            appendonly: s.is_set("appendonly"),
            appendfsync: s.value("appendfsync").to_owned(),
            session_revocation_fsync: s.is_set("session-revocation-fsync"),
            appendfilename: s.value("appendfilename").to_owned(),
            appenddirname: s.value("appenddirname").to_owned(),
            no_appendfsync_on_rewrite: s.is_set("no-appendfsync-on-rewrite"),
            auto_aof_rewrite_percentage: s.size("auto-aof-rewrite-percentage"),
            auto_aof_rewrite_min_size: s.size("auto-aof-rewrite-min-size"),
            aof_load_truncated: s.is_set("aof-load-truncated"),
            aof_use_rdb_preamble: s.is_set("aof-use-rdb-preamble"),
            save: s.value("save").to_owned(),
            dbfilename: s.value("dbfilename").to_owned(),
            rdbcompression: s.is_set("rdbcompression"),
            slowlog_log_slower_than_us: s.number("slowlog-log-slower-than"),
            slowlog_max_len: narrow(s.number("slowlog-max-len")),
            latency_monitor_threshold_ms: s.size("latency-monitor-threshold"),
            latency_tracking: s.is_set("latency-tracking"),
            maxmemory: s.size("maxmemory"),
            maxmemory_policy: s.value("maxmemory-policy").to_owned(),
            maxmemory_samples: narrow(s.number("maxmemory-samples")),
            lfu_log_factor: narrow(s.number("lfu-log-factor")),
            lfu_decay_time_min: narrow(s.number("lfu-decay-time")),
            arena_max: s.size("arena-max"),
            shards: narrow(s.number("shards")),
            memcached_max_item_size: narrow(s.number("memcached-max-item-size")),
            hash_max_listpack_entries: narrow(s.number("hash-max-listpack-entries")),
            hash_max_listpack_value: narrow(s.number("hash-max-listpack-value")),
        })
    }

    /// Publishes what running threads look at.
    pub fn publish(&self, live: &Live) {
        let room = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        live.clients_most.store(self.maxclients, Relaxed);
        live.idle_s.store(self.timeout_s, Relaxed);
        live.keepalive_s.store(self.tcp_keepalive_s, Relaxed);
        live.protected.store(self.protected_mode, Relaxed);
        live.password.store(!self.requirepass.is_empty(), Relaxed);
        live.query_most.store(self.client_query_buffer, Relaxed);
        live.output_hard.store(room(self.output_normal.hard), Relaxed);
        live.output_soft.store(room(self.output_normal.soft), Relaxed);
        live.output_soft_s.store(self.output_normal.soft_s, Relaxed);
        live.buffers_most.store(self.maxmemory_clients, Relaxed);
    }
}

/// The rows' bounds keep values within their types.
fn narrow<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}

fn binds(text: &str) -> Vec<Bind> {
    let one = |word: &str| {
        let (host, optional) = word.strip_prefix('-').map_or((word, false), |host| (host, true));
        let host = match host {
            "*" => "0.0.0.0",
            "::*" => "::",
            other => other,
        };
        Bind { host: host.to_owned(), optional }
    };
    text.split_ascii_whitespace().map(one).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_ascii_lowercase).collect()
}

fn renames(text: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let pair = |pair: &[&str]| match pair {
        [from, to] => Some(((*from).to_owned(), to.trim_matches('"').to_owned())),
        _ => None,
    };
    words.chunks(2).filter_map(pair).collect()
}

fn allowed(text: &str) -> Allowed {
    match text {
        "yes" => Allowed::Yes,
        "local" => Allowed::Local,
        _ => Allowed::No,
    }
}

fn level(text: &str) -> Level {
    match text {
        "debug" => Level::Debug,
        "verbose" => Level::Verbose,
        "warning" => Level::Warning,
        "nothing" => Level::Nothing,
        _ => Level::Notice,
    }
}

fn output(text: &str, class: &str) -> OutputLimit {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = |word: &str| word.parse().unwrap_or(0);
    for part in words.chunks_exact(4) {
        if let [name, hard, soft, seconds] = part
            && *name == class
        {
            return OutputLimit { hard: number(hard), soft: number(soft), soft_s: number(seconds) };
        }
    }
    OutputLimit::default()
}

/// What all clients' buffers may hold: given in bytes, as a share of `maxmemory`, or worked out.
fn buffers(settings: &Settings) -> u64 {
    let text = settings.value("maxmemory-clients");
    let given = match text.strip_suffix('%') {
        Some(percent) => settings.size("maxmemory") / 100 * percent.parse::<u64>().unwrap_or(0),
        None => text.parse().unwrap_or(0),
    };
    match settings.size("maxmemory") {
        _ if given > 0 => given,
        // The largest value must always fit, request and reply.
        0 => (settings.size("arena-max") / 2).max(1 << 30),
        // Buffers count in the cap: they must not push all the data out.
        cap => (cap / 2).max(64 << 20),
    }
}
