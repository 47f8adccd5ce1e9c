//! The log: lines in the form that Redis' tools and eyes are used to.
//!
//! `PID:M DD Mon YYYY hh:mm:ss.mmm SIGN text`, time in UTC, to standard output or appended to a
//! file, which is opened anew for each line so that it can be moved away. Never on the path of a
//! request: what a client can cause at will is limited by a [`Gate`].

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::os::{clock, machine};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// For developers.
    Debug,
    /// Rare but ordinary events.
    Verbose,
    /// What an administrator wants to know.
    Notice,
    /// What an administrator must know.
    Warning,
    /// Nothing is logged at this level: as a threshold it silences everything.
    Nothing,
}

static THRESHOLD: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static FILE: Mutex<Option<String>> = Mutex::new(None);

/// Lines below `level` are dropped from now on.
pub fn set_level(level: Level) {
    THRESHOLD.store(level as u8, Ordering::Relaxed);
}

/// Lines go to that file from now on; an empty path is standard output.
pub fn set_file(path: &str) {
    let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    *file = (!path.is_empty()).then(|| path.to_owned());
}

/// Writes one line.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    if (level as u8) < THRESHOLD.load(Ordering::Relaxed) {
        return;
    }
    let text = render(level, clock::wall_us(), text);
    let file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    // A log that can't be written is no reason to stop serving, and there is nowhere to say so.
    let _ = match &*file {
        None => std::io::stdout().lock().write_all(text.as_bytes()),
        Some(path) => std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes())),
    };
}

/// Writes a line that matters to developers.
pub fn debug(text: fmt::Arguments<'_>) {
    line(Level::Debug, text);
}

/// Writes a line about an ordinary event.
pub fn verbose(text: fmt::Arguments<'_>) {
    line(Level::Verbose, text);
}

/// Writes a line that an administrator wants to read.
pub fn notice(text: fmt::Arguments<'_>) {
    line(Level::Notice, text);
}

/// Writes a line that an administrator must read.
pub fn warning(text: fmt::Arguments<'_>) {
    line(Level::Warning, text);
}

/// Lets one line of a kind through per minute.
#[derive(Debug, Default)]
pub struct Gate {
    next_ms: AtomicU64,
}

impl Gate {
    /// A gate that is open.
    pub const fn new() -> Self {
        Self { next_ms: AtomicU64::new(0) }
    }

    /// Whether a line may go through at `now_ms`; if so, none may for a minute.
    pub fn opens(&self, now_ms: u64) -> bool {
        let next = self.next_ms.load(Ordering::Relaxed);
        let later = now_ms.saturating_add(60_000);
        now_ms >= next
            && self
                .next_ms
                .compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

fn render(level: Level, wall_us: i64, text: fmt::Arguments<'_>) -> String {
    let sign = match level {
        Level::Debug => '.',
        Level::Verbose => '-',
        Level::Notice => '*',
        Level::Warning | Level::Nothing => '#',
    };
    let (seconds, ms) = (wall_us.div_euclid(1_000_000), wall_us.rem_euclid(1_000_000) / 1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let pid = machine::pid();
    format!(
        "{pid}:M {day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{ms:03} {sign} {text}\n"
    )
}

/// The Gregorian date of a day since the Unix epoch, by years that begin in March.
fn civil(days: i64) -> (i64, &'static str, i64) {
    const MONTHS: [&str; 12] =
        ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let name = usize::try_from(month).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Mar");
    (year_of_era + era * 400 + i64::from(month >= 10), name, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_looks_like_one_of_redis() {
        let text = render(Level::Notice, 1_795_399_920_042_000, format_args!("hello"));
        let rest = text.split_once(":M ").unwrap().1;
        assert_eq!(rest, "23 Nov 2026 02:12:00.042 * hello\n");
    }

    #[test]
    fn dates_around_leap_days() {
        assert_eq!(civil(0), (1970, "Jan", 1));
        assert_eq!(civil(11_016), (2000, "Feb", 29));
        assert_eq!(civil(11_017), (2000, "Mar", 1));
        assert_eq!(civil(-1), (1969, "Dec", 31));
    }

    #[test]
    fn a_gate_opens_once_a_minute() {
        let gate = Gate::new();
        assert!(gate.opens(5));
        assert!(!gate.opens(60_004));
        assert!(gate.opens(60_005));
    }
}
