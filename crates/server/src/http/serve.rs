//! The loop of the admin page: connections, their bytes and their deadlines, on one thread.
//!
//! ```text
//!   Reading --head complete or refused--> Writing --all sent--> Parting --closed by the client-->
//! ```
//!
//! What always holds: one request per connection; as many connections as [`HTTP_CONNECTIONS`], and
//! a newcomer ends the one that has waited longest, so that slow clients shut nobody out; each
//! stage has a deadline that no byte moves.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::answer::Answer;
use super::request;
use super::route::Router;
use crate::limits::{HTTP_ANSWER_MS, HTTP_CONNECTIONS, HTTP_HEAD, HTTP_HEAD_MS, HTTP_LINGER_MS};
use crate::log::{self, Gate};
use crate::os::clock::Clock;
use crate::os::poll::{Interest, Poll, Ready};
use crate::os::socket::{self, AcceptError, Moved};

/// The token of the wake-up; listeners count down from the one below it.
const WAKE: u64 = u64::MAX;
/// How long listeners are left alone that can't accept (ms).
const REST_MS: u64 = 100;

static WARNINGS: Gate = Gate::new();

/// The thread's state.
#[derive(Debug)]
pub(super) struct Server {
    listeners: Vec<(OwnedFd, SocketAddr)>,
    router: Router,
    clock: Clock,
    shared: Arc<Shared>,
    poll: Poll,
    connections: Vec<Option<Connection>>,
    /// Until when nothing is accepted (ms).
    rest_until: u64,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    stage: Stage,
    /// What was received of the head, or what is to be sent.
    bytes: Vec<u8>,
    /// How much of it was sent.
    sent: usize,
    /// When it has to have come to the next stage (ms).
    until: u64,
    /// When it came (ms).
    since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reading,
    Writing,
    /// All is sent; closing now could make the client lose it.
    Parting,
}

impl Server {
    pub(super) fn new(
        listeners: Vec<(OwnedFd, SocketAddr)>,
        names: Vec<String>,
        clock: Clock,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let poll = Poll::new(HTTP_CONNECTIONS * 2)?;
        poll.add(&shared.wake, WAKE, Interest::READ)?;
        for (number, (socket, _)) in listeners.iter().enumerate() {
            poll.add(socket, token_of(number), Interest::READ)?;
        }
        let connections = std::iter::repeat_with(|| None).take(HTTP_CONNECTIONS).collect();
        let router = Router::new(names);
        Ok(Self { listeners, router, clock, shared, poll, connections, rest_until: 0 })
    }

    /// Serves until told to stop.
    pub(super) fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            let now = self.clock.now().mono_us / 1000;
            let events = match self.poll.wait(self.sleep_ms(now)) {
                Ok(events) => events,
                Err(error) => return log::warning(format_args!("the admin page ends: {error}")),
            };
            let now = self.clock.now().mono_us / 1000;
            for at in 0..events {
                match self.poll.ready(at) {
                    Some(ready) if ready.token == WAKE => self.shared.wake.hear(),
                    Some(ready) => match usize::try_from(ready.token) {
                        Ok(slot) if slot < HTTP_CONNECTIONS => self.go_on(slot, ready, now),
                        _ => self.accept(ready.token, now),
                    },
                    None => {}
                }
            }
            self.end_overdue(now);
        }
    }

    /// How long nothing is due.
    fn sleep_ms(&self, now: u64) -> Option<u64> {
        let due = self.connections.iter().flatten().map(|one| one.until);
        let due = due.chain((self.rest_until > 0).then_some(self.rest_until)).min();
        due.map(|due| due.saturating_sub(now).max(1))
    }

    fn end_overdue(&mut self, now: u64) {
        for place in &mut self.connections {
            if place.as_ref().is_some_and(|one| one.until <= now) {
                *place = None;
            }
        }
        if self.rest_until > 0 && self.rest_until <= now {
            self.listen(Interest::READ, 0);
        }
    }

    fn accept(&mut self, token: u64, now: u64) {
        let number = usize::try_from(WAKE - 1 - token).unwrap_or(usize::MAX);
        for _ in 0..HTTP_CONNECTIONS {
            let Some((listener, _)) = self.listeners.get(number) else { return };
            match socket::accept(listener) {
                Ok((socket, _)) => self.welcome(socket, now),
                Err(AcceptError::Nothing) => return,
                Err(AcceptError::Exhausted(error) | AcceptError::Failed(error)) => {
                    if WARNINGS.opens(self.clock.now().ms) {
                        log::warning(format_args!("accepting for the admin page: {error}"));
                    }
                    return self.listen(Interest { read: false, write: false }, now + REST_MS);
                }
            }
        }
    }

    /// Watches the listeners so; nothing is accepted until then.
    fn listen(&mut self, interest: Interest, rest_until: u64) {
        self.rest_until = rest_until;
        for (number, (socket, _)) in self.listeners.iter().enumerate() {
            let _ = self.poll.modify(socket, token_of(number), interest);
        }
    }

    fn welcome(&mut self, socket: OwnedFd, now: u64) {
        let oldest = |(_, place): &(usize, &Option<Connection>)| {
            // An empty place comes before any other.
            place.as_ref().map_or(0, |one| one.since.max(1))
        };
        let Some((slot, _)) = self.connections.iter().enumerate().min_by_key(oldest) else {
            return;
        };
        let Some(place) = self.connections.get_mut(slot) else { return };
        *place = None;
        if self.poll.add(&socket, slot as u64, Interest::READ).is_ok() {
            let until = now + HTTP_HEAD_MS;
            let (stage, bytes) = (Stage::Reading, Vec::new());
            *place = Some(Connection { socket, stage, bytes, sent: 0, until, since: now });
        }
    }

    fn go_on(&mut self, slot: usize, ready: Ready, now: u64) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        let alive = match connection.stage {
            Stage::Reading if ready.read || ready.gone => self.read(slot, now),
            Stage::Writing if ready.write || ready.gone => self.write(slot, now),
            Stage::Parting if ready.read || ready.gone => !connection.has_gone(),
            _ => true,
        };
        if !alive && let Some(place) = self.connections.get_mut(slot) {
            *place = None;
        }
    }

    /// Takes more of the head in. Whether the connection goes on.
    fn read(&mut self, slot: usize, now: u64) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return false };
        let mut room = [0; 2048];
        match socket::read(&connection.socket, &mut room) {
            Moved::Bytes(count) => {
                connection.bytes.extend_from_slice(room.get(..count).unwrap_or_default());
            }
            Moved::Blocked => return true,
            Moved::Closed => return false,
        }
        let source = self.shared.source.get();
        let answer = match request::parse(&connection.bytes) {
            Ok(None) => return connection.bytes.len() <= HTTP_HEAD,
            Ok(Some(request)) => self.router.answer(&request, source, now).bytes(request.body),
            Err(status) => Answer::plain(status).bytes(true),
        };
        connection.bytes = answer;
        connection.stage = Stage::Writing;
        connection.until = now + HTTP_ANSWER_MS;
        self.write(slot, now)
    }

    /// Sends more of the answer. Whether the connection goes on.
    fn write(&mut self, slot: usize, now: u64) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return false };
        while let Some(rest @ [_, ..]) = connection.bytes.get(connection.sent..) {
            match socket::write(&connection.socket, rest) {
                Moved::Bytes(count) => connection.sent += count,
                Moved::Blocked => {
                    let interest = Interest { read: false, write: true };
                    return self.poll.modify(&connection.socket, slot as u64, interest).is_ok();
                }
                Moved::Closed => return false,
            }
        }
        socket::shut(&connection.socket);
        connection.stage = Stage::Parting;
        connection.bytes = Vec::new();
        connection.until = now + HTTP_LINGER_MS;
        self.poll.modify(&connection.socket, slot as u64, Interest::READ).is_ok()
    }
}

impl Connection {
    /// Throws away what still comes; whether the client has closed.
    fn has_gone(&self) -> bool {
        socket::read(&self.socket, &mut [0; 2048]) == Moved::Closed
    }
}

fn token_of(listener: usize) -> u64 {
    WAKE - 1 - listener as u64
}
