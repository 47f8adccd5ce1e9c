//! One connection: bytes out, replies in, and the operations that wait for them.
//!
//! What always holds: replies come in the order of the requests; what couldn't be written at once
//! is kept and written when there is room; what came of an unfinished reply is kept until its rest
//! comes, up to a bound.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::Address;
use super::visitors::Visit;
use crate::dialect::{Dialect, Reply, Scan};
use crate::limits::PATIENCE;

/// A connected socket of either kind.
#[derive(Debug)]
pub enum Socket {
    /// TCP, without delay.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Socket {
    /// Connects, blocking.
    pub fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
        }
    }

    /// Makes reads and writes return at once.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true),
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }

    /// Bounds blocking reads and writes.
    pub fn set_patience(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// An operation on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// What it is.
    pub(super) visit: Visit,
    /// When it was due, in nanoseconds since the start.
    pub(super) due: u64,
    /// Which of its steps is under way.
    pub(super) step: u8,
    /// Replies of that step that haven't come yet.
    pub(super) replies: u8,
    /// Whether the first reply of the step is still to come.
    pub(super) fresh: bool,
    /// The session wasn't there.
    pub(super) missing: bool,
    /// The server said no.
    pub(super) refused: bool,
    /// Commands so far.
    pub(super) commands: u8,
}

/// A connection and what waits on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// Requests that aren't written yet begin at `sent`.
    pub(super) out: Vec<u8>,
    sent: usize,
    rest: Vec<u8>,
    pub(super) waiting: VecDeque<Waiting>,
    /// Since when it has had room for another operation.
    pub(super) free_since: u64,
    /// It stands in the list of those that have room.
    pub(super) listed: bool,
    /// It is watched for room to write.
    pub(super) stuffed: bool,
}

impl Connection {
    pub(super) fn open(address: &Address) -> io::Result<Self> {
        let socket = Socket::connect(address)?;
        socket.set_nonblocking()?;
        Ok(Self {
            socket,
            out: Vec::new(),
            sent: 0,
            rest: Vec::new(),
            waiting: VecDeque::new(),
            free_since: 0,
            listed: true,
            stuffed: false,
        })
    }

    /// Writes what it can; true when nothing is left.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Takes what has come, by way of `scratch`, and calls `on` for each complete reply with its
    /// bytes. Nothing there is no error; an end is.
    pub(super) fn receive(
        &mut self,
        dialect: Dialect,
        scratch: &mut [u8],
        mut on: impl FnMut(Reply, &[u8], &mut Self),
    ) -> io::Result<()> {
        let came = match self.socket.read(scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => bytes,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let new = scratch.get(..came).unwrap_or_default();
        if self.rest.is_empty() {
            let used = self.replies(dialect, new, &mut on)?;
            self.rest.extend_from_slice(new.get(used..).unwrap_or_default());
        } else {
            let mut all = std::mem::take(&mut self.rest);
            all.extend_from_slice(new);
            let used = self.replies(dialect, &all, &mut on)?;
            all.drain(..used);
            self.rest = all;
        }
        Ok(())
    }

    fn replies(
        &mut self,
        dialect: Dialect,
        input: &[u8],
        on: &mut impl FnMut(Reply, &[u8], &mut Self),
    ) -> io::Result<usize> {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            match dialect.scan(rest) {
                Scan::More => break,
                Scan::Done(bytes, reply) => {
                    used += bytes;
                    on(reply, rest.get(..bytes).unwrap_or_default(), self);
                }
                Scan::Broken => {
                    let head = rest.get(..60).unwrap_or(rest).escape_ascii();
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        format!("no reply: {head}"),
                    ));
                }
            }
        }
        Ok(used)
    }
}
