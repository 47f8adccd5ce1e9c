//! The text of INFO: the sections and fields that clients and monitoring read.
//!
//! Names are those of Redis wherever the thing exists here; what only Sessile has begins with
//! `sessile_`. A number that isn't kept isn't printed.

use std::fmt::Write;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use commands::host::{Host, Tally};

use super::host::ServerHost;
use crate::os::machine;

/// The version of Redis whose commands and replies clients may expect.
pub(super) const REDIS_VERSION: &str = "7.4.0";

/// Counters that CONFIG RESETSTAT sets back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    connections: u64,
    refused: u64,
    evicted_clients: u64,
    requests: u64,
    received: u64,
    sent: u64,
}

impl Counters {
    pub(super) fn of(host: &ServerHost) -> Self {
        let registry = &host.common.registry;
        let (received, sent) = registry.moved();
        Self {
            received,
            sent,
            connections: registry.welcomed.load(Ordering::Relaxed),
            refused: registry.refused.load(Ordering::Relaxed),
            evicted_clients: registry.evicted.load(Ordering::Relaxed),
            requests: host.requests(),
        }
    }

    const fn since(self, base: Self) -> Self {
        Self {
            connections: self.connections.saturating_sub(base.connections),
            refused: self.refused.saturating_sub(base.refused),
            evicted_clients: self.evicted_clients.saturating_sub(base.evicted_clients),
            requests: self.requests.saturating_sub(base.requests),
            received: self.received.saturating_sub(base.received),
            sent: self.sent.saturating_sub(base.sent),
        }
    }
}

/// Appends a section; nothing if there is none of that name.
pub(super) fn section(host: &ServerHost, name: &str, tally: &Tally, out: &mut String) {
    match name {
        "server" => server(host, out),
        "clients" => clients(host, out),
        "memory" => memory(host, tally, out),
        "persistence" => persistence(host, tally, out),
        "stats" => stats(host, tally, out),
        "replication" => replication(host, out),
        "cpu" => cpu(out),
        "commandstats" => commandstats(host, out),
        "latencystats" => latencystats(host, out),
        "errorstats" => errorstats(host, out),
        "cluster" => out.push_str("# Cluster\r\ncluster_enabled:0\r\n"),
        _ => {}
    }
}

/// One line; a `String` takes every write.
fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(out, "{name}:{value}\r\n");
}

fn server(host: &ServerHost, out: &mut String) {
    let config = host.config();
    let now = host.now();
    let uptime = now.ms.saturating_sub(host.started.ms) / 1000;
    out.push_str("# Server\r\n");
    line(out, "redis_version", REDIS_VERSION);
    line(out, "sessile_version", env!("CARGO_PKG_VERSION"));
    line(out, "redis_mode", "standalone");
    line(out, "os", machine::system());
    line(out, "arch_bits", usize::BITS);
    line(out, "multiplexing_api", "epoll");
    line(out, "process_id", machine::pid());
    line(out, "run_id", &host.run_id);
    line(out, "tcp_port", config.port);
    line(out, "memcached_port", config.memcached_port);
    line(out, "server_time_usec", now.us);
    line(out, "uptime_in_seconds", uptime);
    line(out, "uptime_in_days", uptime / 86_400);
    line(out, "io_threads_active", u8::from(config.workers > 1));
    line(out, "config_file", host.store.file());
}

fn clients(host: &ServerHost, out: &mut String) {
    let entries = host.common.registry.entries();
    let most = |value: fn(&crate::registry::Entry) -> u64| {
        entries.iter().map(|entry| value(entry)).max().unwrap_or(0)
    };
    out.push_str("# Clients\r\n");
    line(out, "connected_clients", entries.len());
    line(out, "maxclients", host.config().maxclients);
    line(out, "client_recent_max_input_buffer", most(|e| e.input.load(Ordering::Relaxed)));
    line(out, "client_recent_max_output_buffer", most(|e| e.output.load(Ordering::Relaxed)));
    line(out, "blocked_clients", host.common.registry.blocked.load(Ordering::Relaxed));
}

fn memory(host: &ServerHost, tally: &Tally, out: &mut String) {
    let facts = host.memory();
    let config = host.config();
    let (live, used, index) = tally.bytes;
    out.push_str("# Memory\r\n");
    line(out, "used_memory", facts.used);
    line(out, "used_memory_human", human(facts.used));
    line(out, "used_memory_rss", facts.resident);
    line(out, "used_memory_rss_human", human(facts.resident));
    line(out, "used_memory_peak", facts.peak);
    line(out, "used_memory_peak_human", human(facts.peak));
    line(out, "used_memory_startup", facts.startup);
    line(out, "used_memory_dataset", live);
    line(out, "total_system_memory", machine::memory());
    line(out, "total_system_memory_human", human(machine::memory()));
    line(out, "maxmemory", facts.limit);
    line(out, "maxmemory_human", human(facts.limit));
    line(out, "maxmemory_policy", &config.maxmemory_policy);
    let ratio = facts.resident as f64 / facts.used.max(1) as f64;
    line(out, "mem_fragmentation_ratio", format_args!("{ratio:.2}"));
    line(out, "mem_clients_normal", facts.clients);
    line(out, "mem_allocator", "sessile-arena");
    line(out, "sessile_item_bytes_live", live);
    line(out, "sessile_item_bytes_segments", used);
    line(out, "sessile_index_bytes", index);
    line(out, "sessile_arena_bytes", host.node.arena_bytes());
}

fn persistence(host: &ServerHost, tally: &Tally, out: &mut String) {
    let facts = host.durable.facts();
    let status = |ok| if ok { "ok" } else { "err" };
    let now_ms = host.now().ms;
    let seconds = |took: Option<u64>| took.map_or(-1, |ms| (ms / 1000) as i64);
    let so_far = |on: bool| seconds(on.then(|| now_ms.saturating_sub(facts.began_ms)));
    out.push_str("# Persistence\r\n");
    let how_far = host.durable.how_far();
    line(out, "loading", u8::from(how_far.is_some()));
    line(out, "async_loading", 0);
    if let Some(how_far) = how_far {
        line(out, "loading_start_time", how_far.began_ms / 1000);
        line(out, "loading_total_bytes", how_far.total);
        line(out, "loading_loaded_bytes", how_far.read);
        line(out, "loading_loaded_perc", format_args!("{:.2}", how_far.percent()));
        line(out, "loading_eta_seconds", how_far.seconds_left(host.now().ms));
    }
    line(
        out,
        "rdb_changes_since_last_save",
        tally.stats.changes.saturating_sub(facts.saved_changes),
    );
    line(out, "rdb_bgsave_in_progress", u8::from(facts.saving));
    line(out, "rdb_last_save_time", facts.last_save_s);
    line(out, "rdb_last_bgsave_status", status(facts.last_save_ok));
    line(out, "rdb_last_bgsave_time_sec", seconds(facts.last_save_took_ms));
    line(out, "rdb_current_bgsave_time_sec", so_far(facts.saving));
    line(out, "rdb_saves", facts.saves);
    line(out, "rdb_last_load_keys_loaded", facts.loaded_keys);
    line(out, "aof_enabled", u8::from(facts.log.is_some()));
    line(out, "aof_rewrite_in_progress", u8::from(facts.rewriting));
    line(out, "aof_rewrite_scheduled", u8::from(facts.rewrite_scheduled));
    line(out, "aof_last_rewrite_time_sec", seconds(facts.last_rewrite_took_ms));
    line(out, "aof_current_rewrite_time_sec", so_far(facts.rewriting));
    line(out, "aof_rewrites", facts.rewrites);
    line(out, "aof_last_bgrewrite_status", status(facts.last_rewrite_ok));
    if let Some(log) = facts.log {
        line(out, "aof_last_write_status", status(!log.failed));
        line(out, "aof_base_size", facts.sizes.base);
        line(out, "aof_current_size", facts.sizes.base + facts.sizes.before + log.size);
        line(out, "aof_pending_rewrite", u8::from(facts.rewrite_scheduled));
        line(out, "aof_buffer_length", log.waiting);
        line(out, "aof_pending_bio_fsync", u8::from(log.syncing));
        line(out, "aof_delayed_fsync", log.delayed);
        line(out, "sessile_aof_syncs", log.syncs);
        line(out, "sessile_aof_unsynced_bytes", log.unsynced);
        let age_ms = match log.unsynced_since {
            0 => 0,
            since => now_ms.saturating_sub(since),
        };
        line(out, "sessile_aof_unsynced_ms", age_ms);
    }
}

fn stats(host: &ServerHost, tally: &Tally, out: &mut String) {
    let base = *host.base.lock().unwrap_or_else(PoisonError::into_inner);
    let counters = Counters::of(host).since(base);
    let errors: u64 = host.totals().errors.values().sum();
    let stats = tally.stats;
    out.push_str("# Stats\r\n");
    line(out, "total_connections_received", counters.connections);
    line(out, "total_commands_processed", counters.requests);
    line(out, "total_net_input_bytes", counters.received);
    line(out, "total_net_output_bytes", counters.sent);
    line(out, "rejected_connections", counters.refused);
    line(out, "evicted_clients", counters.evicted_clients);
    line(out, "expired_keys", stats.expired);
    line(out, "expired_subkeys", stats.expired_fields);
    line(out, "evicted_keys", stats.evicted);
    line(out, "sessile_created_sessions", stats.created_sessions);
    line(out, "sessile_rotated_sessions", stats.rotated_sessions);
    line(out, "sessile_ended_sessions", stats.ended_sessions);
    line(out, "sessile_expired_sessions", stats.expired_sessions);
    line(out, "sessile_evicted_sessions", stats.evicted_sessions);
    line(out, "total_error_replies", errors);
    line(out, "sessile_expiry_lag_max_ms", stats.lag_max_ms);
    line(out, "sessile_bytes_written", stats.written);
    line(out, "sessile_bytes_relocated", stats.copied);
    line(out, "sessile_segments_relocated", stats.relocated);
    line(out, "sessile_clock_steps", host.common.clock.steps());
}

fn replication(host: &ServerHost, out: &mut String) {
    out.push_str("# Replication\r\n");
    line(out, "role", "master");
    line(out, "connected_slaves", 0);
    line(out, "master_replid", &host.run_id);
    line(out, "master_repl_offset", 0);
}

fn cpu(out: &mut String) {
    let (user, system) = machine::processor_us().unwrap_or((0, 0));
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    out.push_str("# CPU\r\n");
    line(out, "used_cpu_sys", seconds(system));
    line(out, "used_cpu_user", seconds(user));
}

fn commandstats(host: &ServerHost, out: &mut String) {
    out.push_str("# Commandstats\r\n");
    for command in host.totals().commands() {
        let facts = format_args!(
            "calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}",
            command.calls,
            command.microseconds(),
            command.microseconds_per_call(),
            command.rejected,
            command.failed
        );
        line(out, &format!("cmdstat_{}", command.name), facts);
    }
}

fn latencystats(host: &ServerHost, out: &mut String) {
    out.push_str("# Latencystats\r\n");
    if !host.tells_latency() {
        return;
    }
    for command in host.totals().commands() {
        let percentile = |percent: f64| command.percentile(percent);
        if let (Some(half), Some(most), Some(all)) =
            (percentile(50.0), percentile(99.0), percentile(99.9))
        {
            let facts = format_args!("p50={half:.3},p99={most:.3},p99.9={all:.3}");
            line(out, &format!("latency_percentiles_usec_{}", command.name), facts);
        }
    }
}

fn errorstats(host: &ServerHost, out: &mut String) {
    out.push_str("# Errorstats\r\n");
    for (code, count) in host.totals().errors {
        line(out, &format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn human(bytes: u64) -> String {
    const UNITS: [(u64, char); 4] =
        [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}
