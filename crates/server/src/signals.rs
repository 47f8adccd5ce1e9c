//! Signals: SIGTERM and SIGINT end the server cleanly; SIGHUP, SIGPIPE and SIGXFSZ are ignored, so that
//! a file that may grow no more is an error of the write.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::log;
use crate::workers::acceptor::Stopper;

/// Listens for signals on a thread of its own, which sleeps until one comes. A second request to
/// end, should the first one hang, ends the process at once.
pub fn watch(stopper: Stopper) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGXFSZ])?;
    let watch = move || {
        let mut asked = false;
        for signal in signals.forever() {
            let name = match signal {
                SIGTERM => "SIGTERM",
                SIGINT => "SIGINT",
                _ => continue,
            };
            log::warning(format_args!("Received {name}, shutting down"));
            if asked {
                std::process::exit(1);
            }
            asked = true;
            stopper.stop();
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}
