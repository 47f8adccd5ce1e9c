//! The least a server on this event loop can do: a canned reply for every RESP request.
//!
//! Usage: floor PORT VALUE_BYTES [WORKERS]. Compared with the same thing written as one C loop, it shows what
//! the loop itself costs per request.

use std::net::SocketAddr;
use std::sync::Arc;

use server::live::Live;
use server::os::clock::Clock;
use server::os::heap::Counting;
use server::os::socket::{self, Address};
use server::registry::Entry;
use server::service::{Dialect, Now, Served, Service};
use server::workers::acceptor::{Acceptor, Listener, Stopper};
use server::workers::{Common, Pool};

#[global_allocator]
static HEAP: Counting = Counting;

struct Canned {
    value: Vec<u8>,
}

impl Service for Canned {
    type Client = ();
    type Worker = ();

    fn worker(&self, _index: usize, _bell: &Arc<server::os::wake::Wake>) {}

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
        let mut consumed = 0;
        while let Some((used, verb)) = request(input.get(consumed..).unwrap_or_default()) {
            consumed += used;
            match verb | 0x20 {
                b'g' => out.extend_from_slice(&self.value),
                _ => out.extend_from_slice(b"+OK\r\n"),
            }
        }
        Served { consumed, ..Served::default() }
    }

    fn disconnect(&self, _worker: &mut (), _client: ()) {}

    fn end_of_turn(&self, _worker: &mut (), _now: Now) -> u64 {
        u64::MAX
    }
}

/// Length and first letter of the request at the front.
fn request(input: &[u8]) -> Option<(usize, u8)> {
    let (mut at, arguments) = line(input, 0, b'*')?;
    let mut verb = 0;
    for index in 0..arguments {
        let (start, length) = line(input, at, b'$')?;
        let end = start.checked_add(length)?;
        if index == 0 {
            verb = *input.get(start)?;
        }
        at = end.checked_add(2)?;
        if at > input.len() {
            return None;
        }
    }
    Some((at, verb))
}

/// Where the line at `at` ends and the number in it.
fn line(input: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = input.get(at..)?;
    if *rest.first()? != kind {
        return None;
    }
    let mut number = 0_usize;
    for (index, byte) in rest.iter().enumerate().skip(1) {
        if *byte == b'\n' {
            return Some((at + index + 1, number));
        }
        if byte.is_ascii_digit() {
            number = number.checked_mul(10)?.checked_add(usize::from(byte - b'0'))?;
        }
    }
    None
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|one| one.parse().unwrap_or(0_usize));
    let port = u16::try_from(arguments.next().unwrap_or(0)).unwrap_or(0);
    let length = arguments.next().unwrap_or(512);
    let workers = arguments.next().unwrap_or(1);
    let mut value = format!("${length}\r\n").into_bytes();
    value.resize(value.len() + length, b'x');
    value.extend_from_slice(b"\r\n");
    let common = Arc::new(Common::new(Arc::new(Live::default()), Clock::system()));
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = socket::listen_tcp(at, 511)?;
    let listener = Listener { socket, at: Address::Tcp(at), dialect: Dialect::Resp };
    let pool = Pool::start(&Arc::new(Canned { value }), &common, workers)?;
    Acceptor::new(vec![listener], Stopper::new()?, 0)?.run(&pool)?;
    pool.stop()
}
