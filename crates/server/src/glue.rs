//! Between the loop and the node: the one service that this server runs.
//!
//! The node is not connected yet. Until it is, a stand-in answers PING, so that the shell can be
//! started and tested as a whole.

use std::sync::Arc;

use crate::config::Store;
use crate::registry::Entry;
use crate::service::{Now, Served, Service};
use crate::workers::Common;
use crate::workers::acceptor::Stopper;

/// Builds the service from what the shell has: the configuration, the registry and the clock, and
/// the way to end the server.
pub fn service(_: &Arc<Store>, _: &Arc<Common>, _: &Stopper) -> Result<Standin, String> {
    Ok(Standin)
}

/// Answers every line with PONG.
#[derive(Debug, Default)]
pub struct Standin;

impl Service for Standin {
    type Client = ();
    type Worker = ();

    fn worker(&self, _index: usize) {}

    fn connect(&self, _worker: &mut (), _entry: &Arc<Entry>, _now: Now) -> Result<(), Vec<u8>> {
        Ok(())
    }

    fn serve(
        &self,
        _worker: &mut (),
        _client: &mut (),
        input: &[u8],
        out: &mut Vec<u8>,
        _now: Now,
    ) -> Served {
        let end = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = input.get(..end).unwrap_or_default();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if line.eq_ignore_ascii_case(b"PING\r\n") {
                out.extend_from_slice(b"+PONG\r\n");
            }
        }
        Served { consumed: end, ..Served::default() }
    }

    fn disconnect(&self, _worker: &mut (), _client: ()) {}

    fn end_of_turn(&self, _worker: &mut (), _now: Now) -> u64 {
        u64::MAX
    }
}
