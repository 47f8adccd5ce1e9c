//! The metrics, one row each, and their text for Prometheus (format 0.0.4).
//!
//! What always holds: the rows are the one definition; `/metrics` and the list in `docs/admin.md`
//! are made of them. Names and units follow Prometheus: base units, `_total` on what only grows.
//! A row without a sample now (no log, no error so far) isn't told.

mod table;

use std::fmt::Write;

use super::facts::Facts;
use table::METRICS;

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends with `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts under bounds, a sum and a count.
    Histogram,
    /// A sum and a count.
    Summary,
}

impl Kind {
    /// Prometheus' word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, one line.
    pub help: &'static str,
    /// Its samples now.
    tell: fn(&Facts, &mut Samples<'_>),
}

/// Takes the samples of one metric.
#[derive(Debug)]
struct Samples<'t> {
    metric: &'t Metric,
    text: &'t mut String,
    told: bool,
}

/// Every metric, in the order in which they are told.
pub const fn all() -> &'static [Metric] {
    METRICS
}

/// All metrics as text.
pub fn text(facts: &Facts) -> String {
    let mut text = String::with_capacity(16 << 10);
    for metric in METRICS {
        let mut samples = Samples { metric, text: &mut text, told: false };
        (metric.tell)(facts, &mut samples);
    }
    text
}

/// The list of all metrics for the documentation.
pub fn list() -> String {
    let mut text = String::from("| metric | type | labels | what it tells |\n|---|---|---|---|\n");
    for Metric { name, kind, labels, help, .. } in METRICS {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.word(), labels.join(", "));
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text
}

impl Samples<'_> {
    fn put(&mut self, value: impl Number) {
        self.line("", &[], &value.text());
    }

    fn with(&mut self, values: &[&str], value: impl Number) {
        let labels: Vec<_> =
            self.metric.labels.iter().copied().zip(values.iter().copied()).collect();
        self.line("", &labels, &value.text());
    }

    /// A sum and how many were added up.
    fn sum(&mut self, sum: f64, count: u64) {
        self.line("_sum", &[], &sum.text());
        self.line("_count", &[], &count.text());
    }

    fn line(&mut self, ending: &str, labels: &[(&str, &str)], value: &str) {
        let Metric { name, kind, help, .. } = self.metric;
        if !self.told {
            self.told = true;
            let kind = kind.word();
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        let _ = write!(self.text, "{name}{ending}");
        for (number, (label, text)) in labels.iter().enumerate() {
            let open = if number == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{}\"", escaped(text));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }
}

/// A label's value; errors' codes may come from a client.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What a sample may be.
trait Number {
    fn text(&self) -> String;
}

impl Number for u64 {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Number for f64 {
    fn text(&self) -> String {
        format!("{self:?}")
    }
}
