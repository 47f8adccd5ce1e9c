//! Every metric: its name, kind, labels, line of help, and where its numbers come from.
//!
//! To add one, add a row; `docs/admin.md` is written from the rows (SESSILE_WRITE_SAMPLE=1).

use super::Kind::{Counter, Gauge, Histogram, Summary};
use super::{Kind, Metric, Number, Samples};
use crate::http::facts::{Command, Facts, Health};

/// Bounds of the histogram: 2^10 to 2^29 ns, each twice the last. What took 2^30 and more is counted
/// as one with what took a little less.
const POWERS: std::ops::RangeInclusive<u32> = 10..=29;

fn histogram(facts: &Facts, samples: &mut Samples<'_>) {
    let durations = &facts.durations;
    for power in POWERS {
        let bound = 1_u64 << power;
        let within = durations.counts.iter().filter(|(upper, _)| *upper < bound);
        let within: u64 = within.map(|(_, count)| count).sum();
        samples.line("_bucket", &[("le", &seconds(bound, 1e9).text())], &within.text());
    }
    // What is read while it's counted may differ by the call that goes on; the buckets decide.
    let all: u64 = durations.counts.iter().map(|(_, count)| count).sum();
    samples.line("_bucket", &[("le", "+Inf")], &all.text());
    samples.sum(seconds(durations.nanoseconds, 1e9), all);
}

fn seconds(count: u64, per_second: f64) -> f64 {
    count as f64 / per_second
}

fn each(facts: &Facts, samples: &mut Samples<'_>, count: fn(&Command) -> u64) {
    for command in facts.commands.iter().filter(|command| count(command) > 0) {
        samples.with(&[&command.name], count(command));
    }
}

const fn row(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    tell: fn(&Facts, &mut Samples<'_>),
) -> Metric {
    Metric { name, kind, labels: &[], help, tell }
}

const fn by(labels: &'static [&'static str], metric: Metric) -> Metric {
    Metric { labels, ..metric }
}

/// Every metric, in the order in which they are told.
pub(super) const METRICS: &[Metric] = &[
    by(
        &["version"],
        row("sessile_build_info", Gauge, "Always 1.", |_, to| {
            to.with(&[env!("CARGO_PKG_VERSION")], 1_u64);
        }),
    ),
    row(
        "sessile_up",
        Gauge,
        "Whether requests are served and writes are taken: 1 or 0.",
        |f, to| {
            to.put(u64::from(f.health == Health::Serving));
        },
    ),
    row("process_start_time_seconds", Gauge, "When the process started, Unix time.", |f, to| {
        to.put(seconds(f.started_ms, 1e3));
    }),
    by(
        &["mode"],
        row(
            "sessile_cpu_seconds_total",
            Counter,
            "Processor time of the process, in user mode and in the system.",
            |f, to| {
                to.with(&["user"], seconds(f.processor_us.0, 1e6));
                to.with(&["system"], seconds(f.processor_us.1, 1e6));
            },
        ),
    ),
    by(
        &["protocol"],
        row("sessile_requests_total", Counter, "Requests that were served.", |f, to| {
            to.with(&["resp"], f.requests.0);
            to.with(&["memcached"], f.requests.1);
        }),
    ),
    row(
        "sessile_command_duration_seconds",
        Histogram,
        "How long RESP commands took. Of those that never take long one in 16 is measured and \
         stands for 16, so counts are estimates.",
        histogram,
    ),
    by(
        &["command"],
        row("sessile_commands_total", Counter, "RESP commands that were executed.", |f, to| {
            each(f, to, |command| command.calls);
        }),
    ),
    by(
        &["command"],
        row(
            "sessile_commands_failed_total",
            Counter,
            "RESP commands that were executed and answered with an error.",
            |f, to| each(f, to, |command| command.failed),
        ),
    ),
    by(
        &["command"],
        row(
            "sessile_commands_rejected_total",
            Counter,
            "RESP commands that were refused before they were executed.",
            |f, to| each(f, to, |command| command.rejected),
        ),
    ),
    by(
        &["code"],
        row(
            "sessile_errors_total",
            Counter,
            "Error replies of RESP, by their first word.",
            |f, to| {
                for (code, count) in &f.errors {
                    to.with(&[code], *count);
                }
            },
        ),
    ),
    row("sessile_clients", Gauge, "Clients that are connected.", |f, to| to.put(f.clients)),
    row("sessile_clients_accepted_total", Counter, "Clients that were taken in.", |f, to| {
        to.put(f.clients_ever.0);
    }),
    row(
        "sessile_clients_refused_total",
        Counter,
        "Clients that were refused: too many, or strangers without a password.",
        |f, to| to.put(f.clients_ever.1),
    ),
    row(
        "sessile_clients_evicted_total",
        Counter,
        "Clients that were ended for a limit: buffers, deadlines, idleness.",
        |f, to| to.put(f.clients_ever.2),
    ),
    row("sessile_received_bytes_total", Counter, "Bytes that came from clients.", |f, to| {
        to.put(f.moved.0);
    }),
    row("sessile_sent_bytes_total", Counter, "Bytes that went to clients.", |f, to| {
        to.put(f.moved.1);
    }),
    row("sessile_keys", Gauge, "Keys of all databases.", |f, to| to.put(f.shards.keys)),
    row("sessile_keys_with_deadline", Gauge, "Keys that have a deadline.", |f, to| {
        to.put(f.shards.deadlines);
    }),
    row("sessile_sessions", Gauge, "Keys that are sessions of the SESSION commands.", |f, to| {
        to.put(f.shards.sessions);
    }),
    row("sessile_expired_keys_total", Counter, "Keys that ended by their deadline.", |f, to| {
        to.put(f.shards.stats.expired);
    }),
    row(
        "sessile_expired_fields_total",
        Counter,
        "Fields that ended by their deadline.",
        |f, to| {
            to.put(f.shards.stats.expired_fields);
        },
    ),
    row("sessile_created_sessions_total", Counter, "Sessions that were created.", |f, to| {
        to.put(f.shards.stats.created_sessions);
    }),
    row(
        "sessile_rotated_sessions_total",
        Counter,
        "Sessions that got another key by ROTATE.",
        |f, to| to.put(f.shards.stats.rotated_sessions),
    ),
    row(
        "sessile_ended_sessions_total",
        Counter,
        "Sessions that somebody ended: by END, or by deleting, overwriting or emptying.",
        |f, to| to.put(f.shards.stats.ended_sessions),
    ),
    row(
        "sessile_expired_sessions_total",
        Counter,
        "Sessions that ended by their deadline; keys that did include them.",
        |f, to| to.put(f.shards.stats.expired_sessions),
    ),
    row("sessile_evicted_keys_total", Counter, "Keys that were evicted.", |f, to| {
        to.put(f.shards.stats.evicted);
    }),
    row(
        "sessile_evicted_sessions_total",
        Counter,
        "Sessions that were evicted; evicted keys include them.",
        |f, to| to.put(f.shards.stats.evicted_sessions),
    ),
    row(
        "sessile_expiry_lag_seconds",
        Summary,
        "Time from a key's deadline to its end, of all keys that ended by it.",
        |f, to| {
            let stats = &f.shards.stats;
            to.sum(seconds(stats.lag_sum_ms, 1e3), stats.expired);
        },
    ),
    row("sessile_expiry_lag_max_seconds", Gauge, "The longest such time so far.", |f, to| {
        to.put(seconds(f.shards.stats.lag_max_ms, 1e3));
    }),
    by(
        &["use"],
        row(
            "sessile_memory_bytes",
            Gauge,
            "Memory in use by what it's used for; the sum counts under the cap.",
            |f, to| f.uses().iter().for_each(|(name, bytes)| to.with(&[name], *bytes)),
        ),
    ),
    row("sessile_memory_limit_bytes", Gauge, "The cap (maxmemory); 0: none.", |f, to| {
        to.put(f.memory.limit);
    }),
    row("process_resident_memory_bytes", Gauge, "Resident memory of the process.", |f, to| {
        to.put(f.memory.resident);
    }),
    row("sessile_changes_total", Counter, "Changes of the store.", |f, to| {
        to.put(f.shards.stats.changes);
    }),
    row("sessile_written_bytes_total", Counter, "Bytes of items written for clients.", |f, to| {
        to.put(f.shards.stats.written);
    }),
    row("sessile_relocated_bytes_total", Counter, "Bytes of items that were moved.", |f, to| {
        to.put(f.shards.stats.copied);
    }),
    row(
        "sessile_relocated_segments_total",
        Counter,
        "Segments that were emptied by that.",
        |f, to| {
            to.put(f.shards.stats.relocated);
        },
    ),
    row("sessile_log_syncs_total", Counter, "Syncs of the append-only log.", |f, to| {
        f.syncs.iter().for_each(|(syncs, _)| to.put(*syncs));
    }),
    row(
        "sessile_log_delayed_syncs_total",
        Counter,
        "Syncs of the log that took so long that replies had to wait.",
        |f, to| f.syncs.iter().for_each(|(_, delayed)| to.put(*delayed)),
    ),
    row("sessile_clock_steps_total", Counter, "Steps of the system's clock.", |f, to| {
        to.put(f.clock_steps);
    }),
];
