//! stats and its reports.
//!
//! What always holds: names are memcached's, so that monitoring finds what it looks for; a number
//! that means nothing here is left out rather than invented. There are no slab classes: what
//! memcached reports by class is reported once, as class 1.

use super::Done;
use super::context::Ctx;
use super::counters::{Count, Counters};
use super::line;
use crate::ops::cache::DATABASE;
use engine::Stats;
use protocol::memcached::Words;
use smallvec::SmallVec;
use std::fmt::Display;
use std::io::Write;

/// Bytes of one piece of the store's memory.
const CHUNK: usize = 64 * 1024;

/// A report: `words` is what follows `stats`.
pub(super) fn report(ctx: &mut Ctx<'_>, words: Words<'_>, out: &mut Vec<u8>) -> Done {
    let words: SmallVec<[&[u8]; 4]> = words.take(4).collect();
    match words.as_slice() {
        [] => general(ctx, out),
        [b"settings"] => settings(ctx, out),
        [b"items"] => items(ctx, out),
        [b"slabs"] => slabs(ctx, out),
        [b"sizes"] => stat(out, "sizes_status", "disabled"),
        [b"conns"] => connections(ctx, out),
        [b"reset"] => {
            ctx.world.reset_counters();
            line(out, b"RESET");
            return Done::Answered;
        }
        [b"detail", b"on" | b"off"] => {
            line(out, b"OK");
            return Done::Answered;
        }
        [b"detail", b"dump"] | [b"cachedump", _, _, ..] => {}
        [b"detail", ..] => {
            line(out, b"CLIENT_ERROR usage: stats detail on|off|dump");
            return Done::Answered;
        }
        [b"cachedump", ..] => {
            line(out, b"CLIENT_ERROR bad command line");
            return Done::Answered;
        }
        _ => {
            line(out, b"ERROR");
            return Done::Answered;
        }
    }
    line(out, b"END");
    Done::Answered
}

/// What the shards hold, added up.
#[derive(Default)]
struct Holdings {
    keys: u64,
    live: usize,
    items: usize,
    index: usize,
    shards: Stats,
}

impl Holdings {
    fn of(ctx: &mut Ctx<'_>) -> Self {
        let mut sum = Self::default();
        for number in 0..ctx.shards.count() {
            let shard = ctx.shards.shard(number);
            let (live, items, index) = shard.bytes();
            let stats = shard.stats();
            sum.keys += shard.len(DATABASE);
            sum.live += live;
            sum.items += items;
            sum.index += index;
            sum.shards.expired += stats.expired;
            sum.shards.evicted += stats.evicted;
            sum.shards.relocated += stats.relocated;
        }
        sum
    }
}

fn stat(out: &mut Vec<u8>, name: &str, value: impl Display) {
    // Writing to memory can't fail.
    let _ = write!(out, "STAT {name} {value}\r\n");
}

fn seconds(microseconds: u64) -> String {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

fn general(ctx: &mut Ctx<'_>, out: &mut Vec<u8>) {
    let held = Holdings::of(ctx);
    let facts = ctx.world.facts();
    let counters = ctx.world.counters();
    let settings = *ctx.settings;
    stat(out, "pid", facts.pid);
    stat(out, "uptime", facts.uptime);
    stat(out, "time", ctx.now / 1000);
    stat(out, "version", settings.version);
    stat(out, "sessile_version", settings.server_version);
    stat(out, "pointer_size", usize::BITS);
    stat(out, "rusage_user", seconds(facts.user_us));
    stat(out, "rusage_system", seconds(facts.system_us));
    stat(out, "max_connections", setting(ctx, "maxclients"));
    stat(out, "curr_connections", facts.connections);
    stat(out, "total_connections", facts.connections_ever);
    stat(out, "rejected_connections", facts.rejected);
    counted(&counters, out);
    stat(out, "bytes_read", facts.bytes_read);
    stat(out, "bytes_written", facts.bytes_written);
    stat(out, "limit_maxbytes", setting(ctx, "maxmemory"));
    stat(out, "accepting_conns", 1);
    stat(out, "threads", facts.threads);
    stat(out, "hash_bytes", held.index);
    stat(out, "bytes", held.live);
    stat(out, "curr_items", held.keys);
    stat(out, "total_items", counters.get(Count::Stored));
    stat(out, "evictions", held.shards.evicted);
    stat(out, "reclaimed", held.shards.expired);
}

/// The counters, under memcached's names and in its order.
fn counted(counters: &Counters, out: &mut Vec<u8>) {
    const NAMES: [(&str, Count); 20] = [
        ("cmd_get", Count::Gets),
        ("cmd_set", Count::Sets),
        ("cmd_flush", Count::Flushes),
        ("cmd_touch", Count::Touches),
        ("cmd_meta", Count::Metas),
        ("get_hits", Count::GetHits),
        ("get_misses", Count::GetMisses),
        ("delete_misses", Count::DeleteMisses),
        ("delete_hits", Count::DeleteHits),
        ("incr_misses", Count::IncrMisses),
        ("incr_hits", Count::IncrHits),
        ("decr_misses", Count::DecrMisses),
        ("decr_hits", Count::DecrHits),
        ("cas_misses", Count::CasMisses),
        ("cas_hits", Count::CasHits),
        ("cas_badval", Count::CasBadValue),
        ("touch_hits", Count::TouchHits),
        ("touch_misses", Count::TouchMisses),
        ("store_too_large", Count::TooLarge),
        ("store_no_memory", Count::NoMemory),
    ];
    for (name, count) in NAMES {
        stat(out, name, counters.get(count));
    }
}

const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// A setting of the server as text; 0 if there is none of that name.
fn setting(ctx: &Ctx<'_>, name: &str) -> String {
    let found = ctx.host.settings(&[name]).into_iter().next();
    found.map_or_else(|| "0".to_owned(), |(_, value)| value)
}

fn settings(ctx: &Ctx<'_>, out: &mut Vec<u8>) {
    let or_null = |text: String| match text.as_str() {
        "" | "0" => "NULL".to_owned(),
        _ => text,
    };
    let evicts = setting(ctx, "maxmemory-policy") != "noeviction";
    stat(out, "maxbytes", setting(ctx, "maxmemory"));
    stat(out, "maxconns", setting(ctx, "maxclients"));
    stat(out, "tcpport", setting(ctx, "memcached-port"));
    stat(out, "udpport", 0);
    stat(out, "inter", or_null(setting(ctx, "bind")));
    stat(out, "verbosity", 0);
    stat(out, "evictions", if evicts { "on" } else { "off" });
    stat(out, "domain_socket", or_null(setting(ctx, "memcached-unixsocket")));
    stat(out, "shutdown_command", yes(false));
    stat(out, "num_threads", ctx.world.facts().threads);
    stat(out, "detail_enabled", yes(false));
    stat(out, "cas_enabled", yes(true));
    stat(out, "auth_enabled_sasl", yes(false));
    stat(out, "auth_enabled_ascii", yes(false));
    stat(out, "item_size_max", ctx.settings.item_size_max);
    stat(out, "flush_enabled", yes(true));
    stat(out, "dump_enabled", yes(false));
    stat(out, "hash_algorithm", "siphash13");
    stat(out, "idle_timeout", setting(ctx, "timeout"));
    stat(out, "track_sizes", yes(false));
}

fn items(ctx: &mut Ctx<'_>, out: &mut Vec<u8>) {
    let held = Holdings::of(ctx);
    if held.keys == 0 {
        return;
    }
    stat(out, "items:1:number", held.keys);
    stat(out, "items:1:mem_requested", held.live);
    stat(out, "items:1:evicted", held.shards.evicted);
    stat(out, "items:1:outofmemory", ctx.world.counters().get(Count::NoMemory));
    stat(out, "items:1:reclaimed", held.shards.expired);
}

fn slabs(ctx: &mut Ctx<'_>, out: &mut Vec<u8>) {
    let held = Holdings::of(ctx);
    let counters = ctx.world.counters();
    let chunks = held.items.div_ceil(CHUNK);
    if chunks > 0 {
        stat(out, "1:chunk_size", CHUNK);
        stat(out, "1:chunks_per_page", 1);
        stat(out, "1:total_pages", chunks);
        stat(out, "1:total_chunks", chunks);
        stat(out, "1:used_chunks", chunks);
        stat(out, "1:free_chunks", 0);
        for (name, count) in [
            ("1:get_hits", Count::GetHits),
            ("1:cmd_set", Count::Sets),
            ("1:delete_hits", Count::DeleteHits),
            ("1:incr_hits", Count::IncrHits),
            ("1:decr_hits", Count::DecrHits),
            ("1:cas_hits", Count::CasHits),
            ("1:cas_badval", Count::CasBadValue),
            ("1:touch_hits", Count::TouchHits),
        ] {
            stat(out, name, counters.get(count));
        }
    }
    stat(out, "active_slabs", usize::from(chunks > 0));
    stat(out, "total_malloced", held.items + held.index);
}

fn connections(ctx: &Ctx<'_>, out: &mut Vec<u8>) {
    for client in ctx.host.clients() {
        let family = if client.unix { "unix" } else { "tcp" };
        let (id, addr, listener) = (client.id, client.addr, client.laddr);
        stat(out, &format!("{id}:addr"), format_args!("{family}:{addr}"));
        stat(out, &format!("{id}:listen_addr"), format_args!("{family}:{listener}"));
        stat(out, &format!("{id}:state"), "conn_read");
        stat(out, &format!("{id}:secs_since_last_cmd"), client.idle_s);
    }
}
