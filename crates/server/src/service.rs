//! What the event loop drives: everything between bytes in and bytes out.
//!
//! The loop owns sockets, buffers, deadlines and limits, and knows no protocol; the service owns
//! meaning, and knows no socket. They meet in this trait alone. All calls for one connection come
//! from one worker thread, one at a time.

use std::sync::Arc;

pub use crate::os::clock::Now;
use crate::os::wake::Wake;
use crate::registry::Entry;
pub use node::{Awaited, Unblocked, Until, Waiting};

/// Which language a connection speaks: decided by the listener it came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// RESP2 or RESP3, inline commands included.
    Resp,
    /// memcached text or meta commands.
    Memcached,
}

/// Everything between bytes in and bytes out.
pub trait Service: Send + Sync + 'static {
    /// The state of one connection.
    type Client: Send;
    /// What one worker keeps for itself: scratch space, counters.
    type Worker: Send;

    /// Makes the state of the `index`-th worker; called once, on its thread. Whoever rings the bell
    /// has that worker look at [`Service::safe`] again.
    fn worker(&self, index: usize, bell: &Arc<Wake>) -> Self::Worker;

    /// Welcomes a connection, or gives the bytes that tell it why not. `maxclients` and protected
    /// mode were checked before. `entry` is its row in the registry: the service keeps the labels
    /// there up to date and sets `authenticated`.
    fn connect(
        &self,
        worker: &mut Self::Worker,
        entry: &Arc<Entry>,
        now: Now,
    ) -> Result<Self::Client, Vec<u8>>;

    /// Executes what is complete in `input` (at most a batch, so that no connection starves the
    /// others) and appends the replies to `out`, which may already hold other bytes.
    fn serve(
        &self,
        worker: &mut Self::Worker,
        client: &mut Self::Client,
        input: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> Served;

    /// `input` will be served in this turn, after that of other connections: a chance to fetch
    /// ahead what it's about. Changes nothing.
    fn foresee(&self, _worker: &mut Self::Worker, _client: &Self::Client, _input: &[u8]) {}

    /// All that this turn serves next was foreseen.
    fn foreseen(&self, _worker: &mut Self::Worker) {}

    /// A connection is gone, for whatever reason.
    fn disconnect(&self, worker: &mut Self::Worker, client: Self::Client);

    /// End-of-turn work (journal, expiry, eviction, relocation), before the turn's replies leave.
    /// Returns when it wants to be called again at the latest, in milliseconds since the Unix
    /// epoch: now or earlier for "at once", `u64::MAX` for "not before the next request".
    fn end_of_turn(&self, worker: &mut Self::Worker, now: Now) -> u64;

    /// Whether what isn't safe now can't become so: the connections whose replies wait are closed.
    fn lost(&self) -> bool {
        false
    }

    /// Whether what a request waits for has come, or will never; see [`Served::waiting`].
    fn has_come(&self, _: Awaited) -> bool {
        true
    }

    /// How far the journal has come; see [`Served::until`].
    fn reached(&self) -> Until {
        Until { safe: u64::MAX, own: u64::MAX, synced: u64::MAX }
    }
}

/// What became of the input that [`Service::serve`] was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Bytes done with, from the front.
    pub consumed: usize,
    /// More complete requests may be waiting in the rest: call again without new bytes.
    pub again: bool,
    /// Length of the rest (counted after `consumed`) that would let it go on; 0 for "any more byte".
    /// A hint: memory is taken only for bytes that arrive.
    pub want: usize,
    /// Say goodbye: flush the replies, then close.
    pub close: bool,
    /// Bytes that follow the consumed ones and are thrown away unseen (the body of a refused value).
    pub swallow: u64,
    /// What the replies tell isn't safe before [`Service::reached`] has come that far.
    pub until: Until,
    /// Serve nothing more of this connection before that time (ms since the Unix epoch).
    pub pause_until: Option<u64>,
    /// Serve nothing more of this connection before that has come or its time is over. The rest
    /// begins with the request that waits.
    pub waiting: Option<Waiting>,
    /// Something the administrator should read (an HTTP request on a data port); logged with the
    /// peer's address, at most once a minute.
    pub complaint: Option<&'static str>,
}
