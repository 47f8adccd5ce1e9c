//! The same numbers as JSON, for the page.
//!
//! What always holds: counters as they stand; who asks twice has the rate. Texts are escaped such
//! that they are harmless in a script, too.

use std::fmt::Write;

use super::facts::Facts;

/// The numbers as JSON.
pub(super) fn json(facts: &Facts) -> String {
    let stats = &facts.shards.stats;
    let mut out = Object::new();
    out.text("version", env!("CARGO_PKG_VERSION"));
    out.text("status", facts.health.word());
    out.number("now_ms", facts.now_ms);
    out.number("uptime_s", facts.now_ms.saturating_sub(facts.started_ms) / 1000);
    out.number("requests_resp", facts.requests.0);
    out.number("requests_memcached", facts.requests.1);
    out.number("clients", facts.clients);
    out.number("received", facts.moved.0);
    out.number("sent", facts.moved.1);
    out.number("keys", facts.shards.keys);
    out.number("sessions", facts.shards.sessions);
    out.number("expired", stats.expired);
    out.number("expired_sessions", stats.expired_sessions);
    out.number("evicted", stats.evicted);
    out.number("evicted_sessions", stats.evicted_sessions);
    out.number("lag_sum_ms", stats.lag_sum_ms);
    out.number("lag_max_ms", stats.lag_max_ms);
    out.number("limit", facts.memory.limit);
    out.number("resident", facts.memory.resident);
    let uses = facts.uses().map(|(name, bytes)| format!("\"{name}\":{bytes}"));
    out.raw("memory", &format!("{{{}}}", uses.join(",")));
    let counts = facts.durations.counts.iter().map(|(bound, count)| format!("[{bound},{count}]"));
    out.raw("durations", &list(counts));
    out.raw(
        "slow",
        &list(facts.slow.iter().map(|slow| {
            let mut entry = Object::new();
            entry.number("id", slow.id);
            entry.number("at", slow.at_s);
            entry.number("us", slow.microseconds);
            entry.text("command", &slow.command);
            entry.text("key", &slow.key);
            entry.end()
        })),
    );
    out.end()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// An object that grows member by member. Names are ours and need no escaping.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn number(&mut self, name: &str, value: u64) {
        self.raw(name, &value.to_string());
    }

    fn text(&mut self, name: &str, value: &str) {
        let quoted = quoted(value);
        self.raw(name, &quoted);
    }

    fn raw(&mut self, name: &str, value: &str) {
        let comma = if self.0.len() > 1 { "," } else { "" };
        let _ = write!(self.0, "{comma}\"{name}\":{value}");
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            _ if letter < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}
