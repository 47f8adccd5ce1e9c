//! A connection's state and a worker's scratch space.

use crate::Until;
use commands::{Client, Counters, Waiting};
use protocol::args::Span;
use protocol::resp::{Decoder, RespLimits};
use std::sync::Arc;

/// A RESP connection, as the node sees it.
#[derive(Debug)]
pub struct Connection {
    /// The client behind it.
    pub client: Client,
    pub(crate) decoder: Decoder,
    pub(crate) limits: RespLimits,
    /// How far the journal has to come before the replies of this serving may leave.
    pub(crate) until: Until,
}

impl Connection {
    /// A connection of `client`, whose arguments may have `max_bulk` bytes.
    pub fn new(client: Client, max_bulk: usize) -> Self {
        let limits =
            RespLimits { max_bulk, authenticated: client.authenticated, ..RespLimits::default() };
        Self { client, decoder: Decoder::default(), limits, until: Until::default() }
    }

    /// Sets the longest argument.
    pub const fn set_max_bulk(&mut self, bytes: usize) {
        self.limits.max_bulk = bytes;
    }
}

/// What became of a piece of input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// Bytes done with, from the front.
    pub consumed: usize,
    /// Requests executed.
    pub requests: u64,
    /// More complete requests may follow.
    pub again: bool,
    /// Bytes of the rest that would let it go on.
    pub want: usize,
    /// The connection ends when its replies are sent.
    pub close: bool,
    /// Bytes that follow the consumed ones and are to be thrown away unseen.
    pub swallow: u64,
    /// It looked like HTTP, or like nothing that could be a request.
    pub http: bool,
    /// How far the journal has to come before the replies may leave.
    pub until: Until,
    /// Nothing more is served before that time (Unix milliseconds).
    pub pause_until: Option<u64>,
    /// The next request isn't done with: it's to be served again once that has come.
    pub waiting: Option<Waiting>,
}

/// What a worker reuses from request to request.
#[derive(Debug, Default)]
pub struct Worker {
    pub(crate) spans: Vec<Span>,
    pub(crate) batch: Vec<Decoded>,
    /// The buckets of keys that requests of this turn are about.
    pub(crate) foreseen: Vec<(engine::Address, engine::KeyHash)>,
    /// What this worker counts of its commands.
    pub counters: Arc<Counters>,
}

/// A request of a batch: where its bytes begin, and its spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoded {
    pub(crate) base: usize,
    pub(crate) end: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}
