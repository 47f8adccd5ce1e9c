//! A comparison that is told to end: Ctrl-C, or SIGTERM.
//!
//! What always holds: the first signal kills the server that is being measured, so that the
//! measurement fails at once, and no other begins; what was measured before is kept. Signals come
//! to a process, not to a value, which is why this is one.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static ASKED: AtomicBool = AtomicBool::new(false);
/// The process of the server that is being measured; 0: none.
static SERVER: AtomicU32 = AtomicU32::new(0);

/// Listens for signals from now on, on a thread of its own. A second one ends the program where it is.
pub fn watch() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let listen = move || {
        for _ in signals.forever() {
            let again = ASKED.swap(true, Ordering::SeqCst);
            kill(SERVER.load(Ordering::SeqCst));
            if again {
                std::process::exit(130);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}

/// Whether it's to end.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// The server of this process is being measured from now on; 0: it's no longer there.
pub fn measures(process: u32) {
    SERVER.store(process, Ordering::SeqCst);
    if is_asked() {
        kill(process);
    }
}

fn kill(process: u32) {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(id) = id {
        // It may have ended by itself: a terminal's Ctrl-C reaches it too.
        let _ = kill_process(id, Signal::KILL);
    }
}
