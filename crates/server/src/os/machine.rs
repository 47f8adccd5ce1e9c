//! What the machine and the system grant: cores, memory, descriptors, and what of it is used.

use std::fs;

use rustix::process::{Resource, Rlimit};

/// Cores that this process may run on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory of the machine, or of the control group if that is less; 1 GiB if neither says.
pub fn memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match (machine, group) {
        (Some(machine), Some(group)) => machine.min(group),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => 1 << 30,
    }
}

/// Bytes of this process that are in memory now (the system counts whole pages).
pub fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages = text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// Raises the limit of open descriptors to `wanted` as far as the system lets it, and returns what
/// it is now.
pub fn raise_descriptors(wanted: u64) -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let Some(current) = limit.current else { return u64::MAX };
    if current >= wanted {
        return current;
    }
    let hard = limit.maximum.unwrap_or(u64::MAX).max(wanted);
    let most = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    let tries = [(wanted, hard), (most, limit.maximum.unwrap_or(most))];
    for (soft, hard) in tries {
        let asked = Rlimit { current: Some(soft), maximum: Some(hard) };
        if rustix::process::setrlimit(Resource::Nofile, asked).is_ok() {
            return soft;
        }
    }
    current
}

/// This process.
pub fn pid() -> u32 {
    std::process::id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_something() {
        assert!(cores() >= 1);
        assert!(memory() >= 64 << 20);
        assert!(resident().unwrap() > 64 << 10);
        assert!(raise_descriptors(16) >= 16);
    }
}
