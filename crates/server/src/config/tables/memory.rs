//! Directives about memory: the cap, who goes first, how memory is laid out and given back.

use crate::config::kind::Kind;
use crate::config::row::Row;

const BYTES: Kind = Kind::Memory { min: 0, max: 1 << 46 };
const POLICIES: Kind = Kind::Choice(&[
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
]);
const IGNORED: &str = "Accepted and ignored: memory is always given back in slices.";

pub(super) const ROWS: &[Row] = &[
    Row::live("maxmemory", BYTES, "0", "Cap on all memory of the store; 0: the arena's size."),
    Row::live("maxmemory-policy", POLICIES, "noeviction", "What goes when the cap is reached."),
    Row::live("maxmemory-samples", Kind::Number { min: 1, max: 64 }, "5", {
        "Candidates that the policy compares."
    }),
    Row::live("maxmemory-eviction-tenacity", Kind::Number { min: 0, max: 100 }, "10", {
        "Accepted and ignored."
    }),
    Row::live("lfu-log-factor", Kind::Number { min: 0, max: 1 << 30 }, "10", {
        "How many uses a step of the use counter takes."
    }),
    Row::live("lfu-decay-time", Kind::Number { min: 0, max: 1 << 30 }, "1", {
        "Minutes after which the use counter loses a step; 0: never."
    }),
    Row::start("arena-max", BYTES, "0", "Address space of the store; 0: the machine's memory."),
    Row::start(
        "shards",
        Kind::Number { min: 0, max: 256 },
        "0",
        "Independent parts of the store; 0: four per worker, 16 at most.",
    ),
    Row::live(
        "memcached-max-item-size",
        Kind::Memory { min: 1 << 10, max: 512 << 20 },
        "1mb",
        "Bytes of the largest value that memcached clients may store.",
    ),
    Row::live("active-expire-effort", Kind::Number { min: 1, max: 10 }, "1", {
        "Accepted and ignored: what is due is gone within a second."
    }),
    Row::live("activedefrag", Kind::Bool, "no", "Accepted and ignored: relocation never rests."),
    Row::live("lazyfree-lazy-eviction", Kind::Bool, "no", IGNORED),
    Row::live("lazyfree-lazy-expire", Kind::Bool, "no", IGNORED),
    Row::live("lazyfree-lazy-server-del", Kind::Bool, "no", IGNORED),
    Row::live("lazyfree-lazy-user-del", Kind::Bool, "no", IGNORED),
    Row::live("lazyfree-lazy-user-flush", Kind::Bool, "no", IGNORED),
];
