//! What the kernel says of processes and of the machine (/proc).
//!
//! What always holds: CPU time is the scheduler's own count in nanoseconds, over all threads of a
//! process; resident bytes include shared memory that the process has touched (an arena in a memory
//! file counts). What can't be read is `None`, never zero.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A process on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: u32,
}

impl Process {
    /// CPU seconds of all its living threads; `None` once it is gone.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let mut total = 0u64;
        for task in fs::read_dir(self.path("task")).ok()? {
            // A thread may end between the two reads.
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).unwrap_or_default();
            total += text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
        }
        (total > 0).then_some(total as f64 / 1e9)
    }

    /// Resident bytes.
    pub fn resident(&self) -> Option<u64> {
        kilobytes(&fs::read_to_string(self.path("smaps_rollup")).ok()?, &["Rss:"])
    }

    /// Resident bytes, quicker and a little coarser, and what forked children no longer share.
    pub fn resident_with_children(&self) -> Option<u64> {
        let text = fs::read_to_string(self.path("statm")).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        let own = pages * rustix::param::page_size() as u64;
        let children = self.path(&format!("task/{}/children", self.id));
        let ids = fs::read_to_string(children).unwrap_or_default();
        let private = ids.split_whitespace().filter_map(|id| {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
            kilobytes(&text, &["Private_Clean:", "Private_Dirty:"])
        });
        Some(own + private.sum::<u64>())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.id))
    }
}

fn kilobytes(text: &str, names: &[&str]) -> Option<u64> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        names.contains(&name).then(|| words.next()?.parse::<u64>().ok()).flatten()
    });
    lines.map(|kilobytes| kilobytes * 1024).reduce(|a, b| a + b)
}

/// CPU seconds of the calling thread.
pub fn own_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What a reader has to know of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// Processors that this program may use.
    pub processors: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Kernel name and release.
    pub kernel: String,
    /// The system's own name.
    pub system: String,
    /// Date and time (UTC) when it was looked at, as in ISO 8601.
    pub date: String,
    /// Processes that waited to run, averaged over the minute before.
    pub load: f64,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str, mark: char| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let value = line.split_once(mark).map_or("", |(_, value)| value);
            value.trim().trim_matches('"').to_owned()
        };
        let memory = kilobytes(&read("/proc/meminfo"), &["MemTotal:"]).unwrap_or(0);
        let uname = rustix::system::uname();
        let kernel = [uname.sysname(), uname.release(), uname.machine()];
        Self {
            processor: after(&read("/proc/cpuinfo"), "model name", ':'),
            processors: processors().len(),
            memory,
            kernel: kernel.map(|word| word.to_string_lossy().into_owned()).join(" "),
            system: after(&read("/etc/os-release"), "PRETTY_NAME", '='),
            date: date(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|w| w.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// Processors that this program may use, in order.
pub fn processors() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&at| set.is_set(at)).collect()
}

/// Keeps the calling thread, and what it starts from now on, on these processors.
pub fn keep_to(processors: &[usize]) {
    let mut set = rustix::thread::CpuSet::new();
    for &at in processors {
        set.set(at);
    }
    // Where it isn't allowed, things just run wherever the scheduler wants.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Date and time in UTC, by the rule for proleptic Gregorian days.
pub fn date() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    civil(since.map_or(0, |since| since.as_secs()))
}

fn civil(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    let mut year = 1970;
    let mut left = days;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let mut month = 1;
    for length in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_looked_at() {
        let me = Process { id: std::process::id() };
        assert!(me.resident().unwrap() > 100_000);
        assert!(me.resident_with_children().unwrap() > 100_000);
        assert!(me.cpu_seconds().is_some());
        assert!(own_cpu_seconds() > 0.0);
        let nobody = Process { id: u32::MAX };
        assert_eq!((nobody.resident(), nobody.cpu_seconds()), (None, None));
    }

    #[test]
    fn this_machine_has_a_name() {
        let machine = Machine::here();
        assert!(machine.processors > 0 && machine.memory > 0 && !machine.kernel.is_empty());
    }

    #[test]
    fn dates() {
        assert_eq!(civil(0), "1970-01-01T00:00:00Z");
        assert_eq!(civil(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(civil(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(civil(1_795_435_200), "2026-11-23T12:00:00Z");
    }
}
