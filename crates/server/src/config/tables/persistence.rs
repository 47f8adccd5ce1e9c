//! Directives about files. Durable storage is not in this version: a configuration that asks for it
//! is refused rather than silently not honoured.

use crate::config::kind::Kind;
use crate::config::row::Row;

const NONE_YET: &str = "durable storage is not in this version: data lives in memory only";
const IGNORED: &str = "Accepted; without effect while there is no durable storage.";

pub(super) const ROWS: &[Row] = &[
    Row::live("appendonly", Kind::Bool, "no", "Log every change; not in this version.")
        .barred(NONE_YET),
    Row::live("save", Kind::Save, "", "Save points; not in this version.").barred(NONE_YET),
    Row::live("appendfsync", Kind::Choice(&["everysec", "always", "no"]), "everysec", IGNORED),
    Row::start("appendfilename", Kind::Path, "appendonly.aof", IGNORED),
    Row::start("appenddirname", Kind::Path, "appendonlydir", IGNORED),
    Row::live("dbfilename", Kind::Path, "dump.rdb", IGNORED).protected(),
    Row::live("no-appendfsync-on-rewrite", Kind::Bool, "no", IGNORED),
    Row::live("auto-aof-rewrite-percentage", Kind::Number { min: 0, max: 1 << 30 }, "100", IGNORED),
    Row::live("auto-aof-rewrite-min-size", Kind::Memory { min: 0, max: 1 << 46 }, "64mb", IGNORED),
    Row::live("aof-load-truncated", Kind::Bool, "yes", IGNORED),
    Row::live("aof-use-rdb-preamble", Kind::Bool, "yes", IGNORED),
    Row::live("rdbcompression", Kind::Bool, "yes", IGNORED),
    Row::start("rdbchecksum", Kind::Bool, "yes", IGNORED),
    Row::live("stop-writes-on-bgsave-error", Kind::Bool, "yes", IGNORED),
];
