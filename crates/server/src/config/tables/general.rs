//! Directives about the process: threads, log, files, and what is measured.

use crate::config::kind::Kind;
use crate::config::row::Row;

const COUNT: Kind = Kind::Number { min: 0, max: i64::MAX };
const LEVELS: Kind = Kind::Choice(&["debug", "verbose", "notice", "warning", "nothing"]);

pub(super) const ROWS: &[Row] = &[
    Row::start(
        "io-threads",
        Kind::Number { min: 0, max: 128 },
        "0",
        "Worker threads; 0: one per core, 8 at most.",
    ),
    Row::start("databases", Kind::Number { min: 1, max: 16 }, "16", "Databases for SELECT."),
    Row::start("daemonize", Kind::Bool, "no", "Run in the background."),
    Row::start(
        "exit-when-idle",
        COUNT,
        "0",
        "Seconds without any client after which the server ends; 0: never.",
    ),
    Row::start("pidfile", Kind::Path, "", "File that holds the process id while running."),
    Row::live("loglevel", LEVELS, "notice", "The least level of a line in the log."),
    Row::start(
        "logfile",
        Kind::Path,
        "",
        "File that the log is appended to; empty: standard output.",
    ),
    Row::live("dir", Kind::Path, "./sessile-data", "Directory of all data files.").protected(),
    Row::live("hz", Kind::Number { min: 1, max: 500 }, "10", {
        "Accepted and ignored: nothing here runs by a tick."
    }),
    Row::live("dynamic-hz", Kind::Bool, "yes", "Accepted and ignored."),
    Row::start("supervised", Kind::Choice(&["no", "auto", "systemd", "upstart"]), "no", {
        "Accepted and ignored."
    }),
    Row::start("always-show-logo", Kind::Bool, "no", "Accepted and ignored."),
    Row::start("set-proc-title", Kind::Bool, "yes", "Accepted and ignored."),
    Row::live(
        "slowlog-log-slower-than",
        Kind::Number { min: -1, max: i64::MAX },
        "10000",
        "Microseconds from which a command enters SLOWLOG; 0: all, -1: none.",
    ),
    Row::live("slowlog-max-len", Kind::Number { min: 0, max: 1 << 20 }, "128", {
        "Commands that SLOWLOG remembers."
    }),
    Row::live(
        "latency-monitor-threshold",
        COUNT,
        "0",
        "Milliseconds from which LATENCY remembers an event; 0: none.",
    ),
    Row::live(
        "latency-tracking",
        Kind::Bool,
        "yes",
        "Tell how long commands take (LATENCY HISTOGRAM, INFO latencystats).",
    ),
    Row::live("notify-keyspace-events", Kind::Text, "", "Events to publish; not in this version.")
        .barred("keyspace notifications are not in this version"),
];
