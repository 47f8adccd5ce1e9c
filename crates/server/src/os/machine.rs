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
    pages()?.0.checked_mul(rustix::param::page_size() as u64)
}

/// Of these, bytes that belong to no file, the arena's included: heap and stacks.
pub fn private() -> Option<u64> {
    let (resident, shared) = pages()?;
    resident.saturating_sub(shared).checked_mul(rustix::param::page_size() as u64)
}

/// Pages in memory, and how many of them are a file's.
fn pages() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// Processor time of this process so far, in user mode and in the kernel (µs, in ticks of 10 ms).
pub fn processor_us() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let mut next = || fields.next()?.parse::<u64>().ok()?.checked_mul(1_000_000 / ticks);
    Some((next()?, next()?))
}

/// Name, release and architecture of the system, as `uname` says.
pub fn system() -> String {
    let names = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    format!("{} {} {}", text(names.sysname()), text(names.release()), text(names.machine()))
}

/// Bytes from the system's random generator: for keys and ids that nobody may guess.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
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
        assert!(processor_us().is_some());
        assert!(system().starts_with("Linux "));
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
