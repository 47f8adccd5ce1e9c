//! Questions and orders to a server, one at a time, over a connection of their own.
//!
//! What always holds: an answer is waited for no longer than the bound, and kept up to a bound.
//! Not for: load. Commands of one line, whose answers are small.

use std::io::{self, ErrorKind, Read, Write};

use crate::dialect::{Scan, scan};
use crate::limits::ANSWER_MOST;
use crate::load::{Address, Socket};

/// A connection that asks and waits.
#[derive(Debug)]
pub struct Control {
    socket: Socket,
    resp: bool,
}

impl Control {
    /// Connects to a RESP server (`resp`) or to a memcached.
    pub fn connect(address: &Address, resp: bool) -> io::Result<Self> {
        let socket = Socket::connect(address)?;
        socket.set_patience()?;
        Ok(Self { socket, resp })
    }

    /// Sends one line and returns the whole answer as text. A refusal is an error.
    pub fn ask(&mut self, line: &str) -> io::Result<String> {
        self.socket.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            let came = self.socket.read(&mut buffer)?;
            answer.extend_from_slice(buffer.get(..came).unwrap_or_default());
            if self.complete(&answer)? {
                break;
            }
            if came == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if answer.len() > ANSWER_MOST {
                return Err(ErrorKind::OutOfMemory.into());
            }
        }
        let text = String::from_utf8_lossy(&answer).trim_end().to_owned();
        let refused = ["-", "ERROR", "CLIENT_ERROR", "SERVER_ERROR"];
        if refused.iter().any(|mark| text.starts_with(mark)) {
            return Err(io::Error::other(text));
        }
        Ok(text)
    }

    /// How many items the server holds.
    pub fn items(&mut self) -> io::Result<u64> {
        let found = if self.resp {
            self.ask("DBSIZE")?.trim_start_matches(':').parse().ok()
        } else {
            let stats = self.ask("stats")?;
            field(&stats, "STAT curr_items ").and_then(|text| text.parse().ok())
        };
        found.ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// A line of INFO (`name:value`) or of `stats` (`STAT name value`).
    pub fn fact(&mut self, name: &str) -> io::Result<Option<String>> {
        let (command, mark) = if self.resp {
            ("INFO", format!("{name}:"))
        } else {
            ("stats", format!("STAT {name} "))
        };
        Ok(field(&self.ask(command)?, &mark).map(str::to_owned))
    }

    fn complete(&self, answer: &[u8]) -> io::Result<bool> {
        if !self.resp && answer.starts_with(b"STAT") {
            return Ok(answer.ends_with(b"END\r\n"));
        }
        let scan = if self.resp { scan::resp(answer) } else { scan::memcached(answer) };
        match scan {
            Scan::More => Ok(false),
            Scan::Done(..) => Ok(true),
            Scan::Broken => Err(ErrorKind::InvalidData.into()),
        }
    }
}

fn field<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(mark)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_both_kinds() {
        let info = "$30\r\n# Server\r\nredis_version:7.0.15\r\ntcp_port:1\r\n";
        assert_eq!(field(info, "redis_version:"), Some("7.0.15"));
        assert_eq!(
            field("STAT pid 1\r\nSTAT curr_items 12\r\nEND", "STAT curr_items "),
            Some("12")
        );
        assert_eq!(field(info, "nothing:"), None);
    }
}
