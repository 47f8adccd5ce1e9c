//! Directives about files: snapshots and the append-only log.

use crate::config::kind::Kind;
use crate::config::row::Row;

pub(super) const ROWS: &[Row] = &[
    Row::live(
        "appendonly",
        Kind::Bool,
        "yes",
        "Log every change in a file, in 'dir'; no: data are in memory only.",
    ),
    Row::live(
        "appendfsync",
        Kind::Choice(&["everysec", "always", "no"]),
        "everysec",
        "When the log's bytes go to the disk.",
    ),
    Row::live(
        "session-revocation-fsync",
        Kind::Bool,
        "yes",
        "Who deletes a key or ends a session is answered when that is on the disk, \
         whatever 'appendfsync' says.",
    ),
    Row::start("appendfilename", Kind::Path, "appendonly.aof", "How the log's files are called."),
    Row::start("appenddirname", Kind::Path, "appendonlydir", "Their folder, in 'dir'."),
    Row::live(
        "auto-aof-rewrite-percentage",
        Kind::Number { min: 0, max: 1 << 30 },
        "100",
        "Growth of the log at which its base is written anew; 0: only once it has 64 increments.",
    ),
    Row::live(
        "auto-aof-rewrite-min-size",
        Kind::Memory { min: 0, max: 1 << 46 },
        "64mb",
        "Size below which that isn't done.",
    ),
    Row::start("aof-load-truncated", Kind::Bool, "yes", "Cut what a crash left at the log's end."),
    Row::live("save", Kind::Save, "", "Snapshots: after so many seconds with so many changes."),
    Row::live("dbfilename", Kind::Path, "dump.rdb", "The file of snapshots, in 'dir'.").protected(),
    Row::live("rdbcompression", Kind::Bool, "yes", "Compress strings in snapshots."),
    Row::start("rdbchecksum", Kind::Bool, "yes", "Always done; accepted for compatibility."),
    Row::live(
        "aof-use-rdb-preamble",
        Kind::Bool,
        "yes",
        "Whether the log's next base is RDB; no: records, as in its increments.",
    ),
    Row::live(
        "no-appendfsync-on-rewrite",
        Kind::Bool,
        "no",
        "While a snapshot or a rewrite writes, sync as under `appendfsync no`.",
    ),
    Row::live("stop-writes-on-bgsave-error", Kind::Bool, "yes", "Accepted, without effect."),
];
