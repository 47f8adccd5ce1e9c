//! Going to the background: the program starts itself again in a session of its own and ends.
//!
//! A fresh process instead of a fork: nothing inherited has to be undone, and it makes no difference
//! what was done before. The child knows by an environment variable that it is the one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const MARK: &str = "SESSILE_IN_BACKGROUND";

/// Whether this process is already the one in the background.
pub fn in_background() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts this program again with the same arguments, detached from terminal and session, with
/// `input` as its standard input (for a configuration that came from there). Returns its id.
pub fn detach(input: Option<&[u8]>) -> io::Result<u32> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program());
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(MARK, "1");
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure makes one system call and allocates nothing, so it may run between fork
    // and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    if let (Some(bytes), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(bytes)?;
    }
    Ok(child.id())
}

/// This program's file: by its name, which lists of processes then show, unless another file has
/// that name by now.
fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    let identity = |path: &PathBuf| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    match std::env::current_exe() {
        Ok(named) if identity(&named).is_some() && identity(&named) == identity(&own) => named,
        _ => own,
    }
}
