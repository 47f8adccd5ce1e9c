//! The workload file: `name = value` lines, `#` comments.
//!
//! Every setting stands in every file, once, except `prefix`, `pipeline`, `event` and `warm-up`. A
//! file that says something unknown is refused with its line. Times are `90s`, `15m`, `2h`, `14d`
//! or `250ms`; sizes `300`, `16kb`, `64mb`; shares `70 %` or `0.7`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Event, Workload};
use crate::dialect::Op;
use crate::limits::{
    CONNECTIONS_MOST, DOCUMENT_MOST, PIPELINE_MOST, RATE_MOST, RUN_MOST, SESSIONS_MOST,
    WORKLOAD_MOST,
};
use crate::random::Popularity;

const NAMES: [&str; 16] = [
    "title",
    "about",
    "sessions",
    "bytes",
    "prefix",
    "idle",
    "slide",
    "popularity",
    "mix",
    "connections",
    "pipeline",
    "rate",
    "memory",
    "event",
    "warm-up",
    "length",
];

/// Reads a file; an error names the line or the setting.
pub fn parse(name: &str, text: &str) -> Result<Workload, String> {
    let settings = Settings::read(text)?;
    let bytes = settings.value("bytes", range)?;
    let workload = Workload {
        name: name.to_owned(),
        title: settings.value("title", |text| Some(text.to_owned()))?,
        about: settings.value("about", |text| Some(text.to_owned()))?,
        sessions: settings.value("sessions", |t| count(t, 1, SESSIONS_MOST))?,
        bytes,
        prefix: settings.or("prefix", "session:", prefix)?,
        idle: settings
            .value("idle", |t| u32::try_from(time(t)?.as_secs()).ok().filter(|&s| s > 0))?,
        slide: settings.value("slide", yes)?,
        popularity: settings.value("popularity", popularity)?,
        mix: settings.value("mix", mix)?,
        connections: settings.value("connections", |t| count(t, 1, CONNECTIONS_MOST as u64))?
            as usize,
        pipeline: settings.or("pipeline", "1", |t| count(t, 1, PIPELINE_MOST as u64))? as usize,
        rate: settings.value("rate", rate)?,
        memory: settings.value("memory", |t| size(t).filter(|&bytes| bytes > 0))?,
        event: settings.or("event", "none", event)?,
        warm_up: settings.or("warm-up", "500ms", time)?,
        length: settings.value("length", length)?,
    };
    Ok(workload)
}

/// Says one of a workload's settings otherwise: those that the command line has.
pub(super) fn set(workload: &mut Workload, name: &str, text: &str) -> Result<(), String> {
    let done = match name {
        "sessions" => count(text, 1, SESSIONS_MOST).map(|n| workload.sessions = n),
        "bytes" => range(text).map(|range| workload.bytes = range),
        "mix" => mix(text).map(|mix| workload.mix = mix),
        "popularity" => popularity(text).map(|popularity| workload.popularity = popularity),
        "idle" => idle(text).map(|seconds| workload.idle = seconds),
        "connections" => {
            count(text, 1, CONNECTIONS_MOST as u64).map(|n| workload.connections = n as usize)
        }
        "pipeline" => count(text, 1, PIPELINE_MOST as u64).map(|n| workload.pipeline = n as usize),
        "length" => length(text).map(|length| workload.length = length),
        "warm-up" => time(text).map(|warm_up| workload.warm_up = warm_up),
        _ => None,
    };
    done.ok_or_else(|| format!("{name} {text}: not {}", expects(name)))
}

/// What a setting has to be.
fn expects(name: &str) -> String {
    let counts = |most: u64| format!("a whole number from 1 to {most}");
    let said = match name {
        "sessions" => return counts(SESSIONS_MOST),
        "connections" => return counts(CONNECTIONS_MOST as u64),
        "pipeline" => return counts(PIPELINE_MOST as u64),
        "bytes" => return format!("sizes such as 300..1kb, {DOCUMENT_MOST} bytes at most"),
        "length" => return format!("a time such as 5s, {} s at most", RUN_MOST.as_secs()),
        "rate" => return format!("a number from 1 to {RATE_MOST}"),
        "prefix" => "up to 100 letters, digits and signs without blanks",
        "slide" => "yes or no",
        "popularity" => "uniform, zipf 0.9 (0.01 to 0.999), or hot 90 % to 10 %",
        "mix" => "parts such as load 70, change 25, sign-in 3, sign-out 2",
        "memory" => "a size such as 64mb",
        "event" => {
            "none, evict, restart, snapshot at 2s, expire 500 at 3s, or storm 8x from 2s for 2s"
        }
        _ => "a time such as 250ms, 90s or 14d",
    };
    said.to_owned()
}

struct Settings<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Settings<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        if text.len() > WORKLOAD_MOST {
            return Err(format!("longer than {WORKLOAD_MOST} bytes"));
        }
        let mut settings = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                return Err(format!("line {}: not `name = value`", at + 1));
            };
            let (name, value) = (name.trim(), value.trim());
            if !NAMES.contains(&name) {
                return Err(format!("line {}: there is no setting {name}", at + 1));
            }
            if settings.insert(name, value).is_some() {
                return Err(format!("line {}: {name} a second time", at + 1));
            }
        }
        Ok(Self(settings))
    }

    fn value<T>(&self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
        let text = self.0.get(name).ok_or_else(|| format!("{name} is missing"))?;
        read(text).ok_or_else(|| format!("{name} = {text}: not {}", expects(name)))
    }

    fn or<T>(
        &self,
        name: &str,
        default: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, String> {
        let text = self.0.get(name).copied().unwrap_or(default);
        read(text).ok_or_else(|| format!("{name} = {text}: not {}", expects(name)))
    }
}

fn count(text: &str, least: u64, most: u64) -> Option<u64> {
    text.replace('_', "").parse().ok().filter(|n| (least..=most).contains(n))
}

/// A duration with its unit, within the longest run for everything that isn't an idle time.
pub fn time(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = number
        * match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
    Duration::try_from_secs_f64(seconds).ok()
}

/// Operations per second.
pub fn rate(text: &str) -> Option<f64> {
    text.parse().ok().filter(|rate| (1.0..=RATE_MOST).contains(rate))
}

fn idle(text: &str) -> Option<u32> {
    u32::try_from(time(text)?.as_secs()).ok().filter(|&seconds| seconds > 0)
}

fn length(text: &str) -> Option<Duration> {
    time(text).filter(|length| !length.is_zero() && *length <= RUN_MOST)
}

/// Bytes with an optional unit of 1024.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "" | "b" => 1.0,
        "kb" => 1024.0,
        "mb" => 1024.0 * 1024.0,
        "gb" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * unit) as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

fn range(text: &str) -> Option<RangeInclusive<usize>> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let (least, most) = (size(least.trim())? as usize, size(most.trim())? as usize);
    (least <= most && most <= DOCUMENT_MOST).then_some(least..=most)
}

fn prefix(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && text.len() <= 100).then(|| text.to_owned())
}

fn yes(text: &str) -> Option<bool> {
    match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn share(text: &str) -> Option<f64> {
    let value: f64 = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&value).then_some(value)
}

/// `uniform`, `zipf 0.99`, `hot 90 % to 10 %` (share of the requests, part of the sessions).
fn popularity(text: &str) -> Option<Popularity> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    match kind {
        "uniform" if rest.is_empty() => Some(Popularity::Uniform),
        "zipf" => {
            let exponent: f64 = rest.trim().parse().ok()?;
            (0.01..=0.999).contains(&exponent).then_some(Popularity::Zipf(exponent))
        }
        "hot" => {
            let (of_all, part) = rest.split_once(" to ")?;
            Some(Popularity::Hot { share: share(of_all.trim())?, part: share(part.trim())? })
        }
        _ => None,
    }
}

/// `load 70, change 25, sign-in 3, sign-out 2`: parts of any sum, made into shares of 1.
fn mix(text: &str) -> Option<[f64; 5]> {
    let mut parts = [0.0; 5];
    for part in text.split(',') {
        let (name, weight) = part.trim().split_once(' ')?;
        let at = Op::ALL.iter().position(|op| op.name() == name)?;
        let weight: f64 = weight.trim().parse().ok()?;
        let slot = parts.get_mut(at)?;
        if !weight.is_finite() || weight <= 0.0 || *slot > 0.0 {
            return None;
        }
        *slot = weight;
    }
    let sum: f64 = parts.iter().sum();
    Some(parts.map(|part| part / sum))
}

/// `none`, `storm 8x from 2s for 2s`, `snapshot at 2s`, `expire 50000 at 3s`, `evict`, `restart`.
fn event(text: &str) -> Option<Event> {
    let words: Vec<_> = text.split_whitespace().collect();
    let soon = |text: &str| time(text).filter(|&time| time <= RUN_MOST);
    match *words.as_slice() {
        ["none"] => Some(Event::Steady),
        ["evict"] => Some(Event::Evict),
        ["restart"] => Some(Event::Restart),
        ["snapshot", "at", at] => Some(Event::Snapshot { at: soon(at)? }),
        ["expire", sessions, "at", at] => {
            Some(Event::Expire { sessions: count(sessions, 1, SESSIONS_MOST)?, at: soon(at)? })
        }
        ["storm", factor, "from", from, "for", lasts] => {
            let factor: f64 = factor.strip_suffix('x')?.parse().ok()?;
            let event = Event::Storm { factor, from: soon(from)?, lasts: soon(lasts)? };
            (1.0..=1000.0).contains(&factor).then_some(event)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "# a comment\ntitle = T\nabout = A\nsessions = 10_000\nbytes = 300..1kb\n\
        idle = 14d\nslide = yes\npopularity = zipf 0.9\nmix = load 3, change 1\nconnections = 8\n\
        rate = 500\nmemory = 64mb\nlength = 1.5s\n";

    #[test]
    fn a_whole_file() {
        let workload = parse("x", WHOLE).unwrap();
        assert_eq!(workload.sessions, 10_000);
        assert_eq!(workload.bytes, 300..=1024);
        assert_eq!(workload.idle, 14 * 86400);
        assert_eq!(workload.mix, [0.75, 0.25, 0.0, 0.0, 0.0]);
        assert_eq!(workload.popularity, Popularity::Zipf(0.9));
        assert_eq!(workload.length, Duration::from_millis(1500));
        assert_eq!(workload.event, Event::Steady);
        assert_eq!(workload.mix_text(), "load 75 %, change 25 %");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("slide = yes", "slide = maybe", "slide = maybe"),
            ("sessions = 10_000\n", "", "sessions is missing"),
            ("title = T", "title = T\ntitle = U", "line 3: title a second time"),
            ("title = T", "titel = T", "line 2: there is no setting titel"),
            ("title = T", "nothing", "line 2: not `name = value`"),
            ("zipf 0.9", "zipf 2", "popularity"),
            ("load 3", "lode 3", "mix"),
            ("300..1kb", "2kb..1kb", "bytes"),
            ("1.5s", "1.5", "length"),
            ("connections = 8", "connections = 0", "connections = 0: not a whole number from 1"),
            ("rate = 500", "rate = inf", "rate = inf: not a number from 1"),
            ("memory = 64mb", "memory = 0", "memory = 0: not a size"),
        ];
        for (from, to, error) in cases {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE);
            let said = parse("x", &text).unwrap_err();
            assert!(said.contains(error), "{to}: {said}");
        }
    }

    #[test]
    fn events() {
        let second = Duration::from_secs(1);
        assert_eq!(event("snapshot at 2s"), Some(Event::Snapshot { at: second * 2 }));
        assert_eq!(event("expire 50 at 3s"), Some(Event::Expire { sessions: 50, at: second * 3 }));
        let storm = Event::Storm { factor: 8.0, from: second * 2, lasts: second };
        assert_eq!(event("storm 8x from 2s for 1s"), Some(storm));
        for wrong in ["snapshot", "storm 8 from 1s for 1s", "storm 0x from 1s for 1s", "flood"] {
            assert_eq!(event(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_workloads_that_come_along_are_right() {
        let all: Vec<_> = Workload::all().into_iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), 8);
        for workload in all {
            assert_eq!(Workload::find(&workload.name).unwrap(), workload);
        }
        assert!(Workload::find("/no/such").unwrap_err().contains("no workload"));
    }
}
