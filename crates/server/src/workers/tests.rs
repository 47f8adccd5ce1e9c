//! The loop against real sockets, driven by a service of a few words.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::acceptor::{Acceptor, Listener, Stopper};
use super::{Common, Pool};
use crate::limits;
use crate::live::Live;
use crate::os::clock::Clock;
use crate::os::wake::Wake;
use crate::os::{machine, socket};
use crate::registry::{Entry, Registry};
use crate::service::{Dialect, Now, Served, Service, Until};

/// Longer than anything here takes; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lines in, lines out, at most four at a time: `PING`, `BIG n`, `QUIT`, `SWALLOW n`, `PAUSE ms`,
/// `AUTH`, `SAFE n` and `SYNCED n` (answered once the service is safe up to n, or synced).
#[derive(Default)]
struct Words {
    safe: AtomicU64,
    synced: AtomicU64,
    bells: Mutex<Vec<Arc<Wake>>>,
}

impl Service for Words {
    type Client = Arc<Entry>;
    type Worker = ();

    fn worker(&self, _index: usize, bell: &Arc<Wake>) {
        self.bells.lock().unwrap().push(Arc::clone(bell));
    }

    fn reached(&self) -> Until {
        let safe = self.safe.load(Relaxed);
        Until { safe, own: safe, synced: self.synced.load(Relaxed) }
    }

    fn connect(&self, _: &mut (), entry: &Arc<Entry>, _: Now) -> Result<Arc<Entry>, Vec<u8>> {
        Ok(Arc::clone(entry))
    }

    fn serve(
        &self,
        _worker: &mut (),
        client: &mut Arc<Entry>,
        input: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> Served {
        let mut served = Served::default();
        for _ in 0..4 {
            let rest = &input[served.consumed..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return served };
            served.consumed += end + 1;
            let line = std::str::from_utf8(&rest[..end]).unwrap();
            let (word, number) = line.split_once(' ').unwrap_or((line, "0"));
            let number: u64 = number.parse().unwrap();
            match word {
                "PING" => out.extend_from_slice(b"+PONG\n"),
                "BIG" => out.resize(out.len() + number as usize, b'x'),
                "SAFE" => {
                    out.extend_from_slice(b"+SAFE\n");
                    served.until.safe = number;
                }
                "SYNCED" => {
                    out.extend_from_slice(b"+SYNCED\n");
                    served.until.synced = number;
                }
                "AUTH" => client.authenticated.store(true, Relaxed),
                // Nothing to throw away is nothing to stop for.
                "SWALLOW" if number == 0 => {}
                "SWALLOW" => {
                    served.swallow = number;
                    return served;
                }
                "PAUSE" => {
                    served.pause_until = Some(now.ms + number);
                    return served;
                }
                _ => {
                    out.extend_from_slice(b"bye\n");
                    served.close = true;
                    return served;
                }
            }
        }
        served.again = served.consumed < input.len();
        served
    }

    fn disconnect(&self, _worker: &mut (), _client: Arc<Entry>) {}

    fn end_of_turn(&self, _worker: &mut (), _now: Now) -> u64 {
        u64::MAX
    }
}

struct Server {
    at: SocketAddr,
    pool: Option<Arc<Pool>>,
    words: Arc<Words>,
    common: Arc<Common>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(clock: Clock, workers: usize) -> Self {
        Self::start_until(clock, workers, 0)
    }

    fn start_until(clock: Clock, workers: usize, idle_most_ms: u64) -> Self {
        let common = Arc::new(Common::new(Arc::new(Live::default()), clock));
        let listening = socket::listen_tcp("127.0.0.1:0".parse().unwrap(), 511).unwrap();
        let at = socket::local_address(&listening).unwrap().unwrap();
        let listener =
            Listener { socket: listening, at: socket::Address::Tcp(at), dialect: Dialect::Resp };
        let words = Arc::new(Words::default());
        let pool = Arc::new(Pool::start(&words, &common, workers).unwrap());
        let stopper = Stopper::new().unwrap();
        let mut acceptor = Acceptor::new(vec![listener], stopper.clone(), idle_most_ms).unwrap();
        let running = Arc::clone(&pool);
        let thread = std::thread::spawn(move || acceptor.run(&running).unwrap());
        Self { at, pool: Some(pool), words, common, stopper, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Connects and waits until a worker has taken it.
    fn client(&self) -> TcpStream {
        let mut stream = self.connect();
        ping(&mut stream);
        stream
    }

    fn registry(&self) -> &Registry {
        &self.common.registry
    }

    /// Makes the service safe up to a position.
    fn make_safe(&self, position: u64) {
        self.move_on(&self.words.safe, position);
    }

    /// Brings the service to the disk up to a position.
    fn make_synced(&self, position: u64) {
        self.move_on(&self.words.synced, position);
    }

    fn move_on(&self, which: &AtomicU64, position: u64) {
        which.store(position, Relaxed);
        self.words.bells.lock().unwrap().iter().for_each(|bell| bell.ring());
    }

    /// Moves the manual clock and lets every worker look at it.
    fn pass(&self, ms: u64) {
        self.common.clock.advance_ms(ms);
        self.pool.as_ref().unwrap().wake();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(acceptor) = self.thread.take() {
            acceptor.join().unwrap();
        }
        Arc::into_inner(self.pool.take().unwrap()).unwrap().stop().unwrap();
        assert!(self.common.registry.is_empty(), "everyone was let go");
        assert_eq!(self.common.registry.buffered.load(Relaxed), 0, "every buffer is accounted");
    }
}

fn system(workers: usize) -> Server {
    Server::start(Clock::system(), workers)
}

fn manual() -> Server {
    Server::start(Clock::manual(1_000_000_000_000), 1)
}

fn until(what: &str, mut met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

fn expect(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

fn ping(stream: &mut TcpStream) {
    say(stream, "PING\n");
    expect(stream, "+PONG\n");
}

/// Everything up to the end; a reset counts as one.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    bytes
}

#[test]
fn bytes_may_come_one_by_one() {
    let server = system(1);
    let mut client = server.client();
    client.set_nodelay(true).unwrap();
    for byte in b"PING\nPING\n" {
        client.write_all(&[*byte]).unwrap();
    }
    expect(&mut client, "+PONG\n+PONG\n");
    until("the buffer is given back", || server.registry().buffered.load(Relaxed) == 0);
}

#[test]
fn every_byte_is_counted_once() {
    let server = system(2);
    let mut clients = [server.client(), server.client(), server.client()];
    until("all is counted", || server.registry().moved() == (15, 18));
    // More than a socket takes at once, and requests that come in parts.
    say(&mut clients[0], "BIG 20000000\nPI");
    let mut bytes = vec![0; 20_000_000];
    clients[0].read_exact(&mut bytes).unwrap();
    say(&mut clients[0], "NG\n");
    expect(&mut clients[0], "+PONG\n");
    say(&mut clients[1], "SWALLOW 5\n12345");
    ping(&mut clients[1]);
    let expected = (15 + 18 + 15 + 5, 18 + 20_000_000 + 12);
    // A reply may arrive before its worker has counted it.
    until("all is counted", || server.registry().moved() == expected);
    drop(clients);
    until("they left", || server.registry().is_empty());
    assert_eq!(server.registry().moved(), expected);
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    let server = system(1);
    let mut client = server.client();
    let mut other = server.client();
    let text: String = (0..50_000).map(|n| if n % 2 == 0 { "PING\n" } else { "BIG 1\n" }).collect();
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || say(&mut writer, &text));
    ping(&mut other);
    expect(&mut client, &"+PONG\nx".repeat(25_000));
    writing.join().unwrap();
}

#[test]
fn who_does_not_read_is_not_served_and_costs_little() {
    let server = system(1);
    let mut client = server.client();
    let mut writer = client.try_clone().unwrap();
    const EACH: usize = 100_000;
    const COUNT: usize = 1_000;
    let writing =
        std::thread::spawn(move || say(&mut writer, &format!("BIG {EACH}\n").repeat(COUNT)));
    writing.join().unwrap();
    let entry = server.registry().entries().pop().unwrap();
    until("replies wait", || entry.output.load(Relaxed) >= limits::OUTPUT_SOFT as u64);
    ping(&mut server.client());
    let waiting = entry.output.load(Relaxed) as usize;
    // One turn's batches may come on top of the bound.
    let most = limits::OUTPUT_SOFT + limits::BATCHES_PER_TURN * 4 * EACH;
    assert!(waiting <= most, "{waiting} bytes wait");
    let mut bytes = vec![0; EACH];
    for _ in 0..COUNT {
        client.read_exact(&mut bytes).unwrap();
    }
    ping(&mut client);
    until("the buffers are given back", || server.registry().buffered.load(Relaxed) == 0);
}

#[test]
fn too_many_waiting_replies_end_the_connection() {
    let server = system(1);
    server.common.live.output_hard.store(1 << 20, Relaxed);
    let mut client = server.client();
    say(&mut client, "BIG 100000000\n");
    until("it is closed", || server.registry().is_empty());
    assert!(rest(&mut client).len() < 100_000_000);
    assert_eq!(server.registry().evicted.load(Relaxed), 1);
}

#[test]
fn an_endless_request_ends_the_connection() {
    let server = system(1);
    server.common.live.query_most.store(1 << 20, Relaxed);
    let mut client = server.client();
    let flood = vec![b'a'; 64 << 10];
    while client.write_all(&flood).is_ok() {}
    until("it is closed", || server.registry().is_empty());
    assert_eq!(server.registry().evicted.load(Relaxed), 1);
}

#[test]
fn a_goodbye_leaves_after_the_replies() {
    let server = system(1);
    let mut client = server.client();
    say(&mut client, "BIG 20000000\nQUIT\nPING\nPING\n");
    let bytes = rest(&mut client);
    assert_eq!(bytes.len(), 20_000_000 + 4);
    assert!(bytes.ends_with(b"xbye\n"));
    drop(client);
    until("it is closed", || server.registry().is_empty());
}

#[test]
fn another_thread_can_end_a_connection() {
    let server = system(1);
    let (mut first, mut second) = (server.client(), server.client());
    let id = server.registry().entries()[0].id;
    assert!(server.registry().kill(id));
    assert_eq!(rest(&mut first), b"");
    ping(&mut second);
    until("it has left", || !server.registry().kill(id));
}

#[test]
fn clients_beyond_the_limit_are_told() {
    let server = system(1);
    server.common.live.clients_most.store(2, Relaxed);
    let (first, _second) = (server.client(), server.client());
    let mut third = server.connect();
    assert_eq!(rest(&mut third), b"-ERR max number of clients reached\r\n");
    drop(first);
    until("one has left", || server.pool.as_ref().unwrap().load() == 1);
    server.client();
}

#[test]
fn idle_clients_go_when_their_time_is_up() {
    let server = manual();
    server.common.live.idle_s.store(10, Relaxed);
    let (mut quiet, mut busy) = (server.client(), server.client());
    server.pass(9_999);
    ping(&mut busy);
    assert_eq!(server.registry().len(), 2);
    server.pass(1);
    assert_eq!(rest(&mut quiet), b"");
    ping(&mut busy);
    server.pass(10_000);
    assert_eq!(rest(&mut busy), b"");
}

/// Sends a part of a request and waits until so much of it lies in the server.
fn trickle(server: &Server, client: &mut TcpStream, text: &str, total: usize) {
    say(client, text);
    let entry = server.registry().entries().pop().unwrap();
    until("it arrived", || entry.input.load(Relaxed) == total as u64);
}

#[test]
fn an_unfinished_request_has_a_deadline() {
    let server = manual();
    let mut client = server.client();
    trickle(&server, &mut client, "PIN", 3);
    server.pass(limits::PARTIAL_MS - 1);
    say(&mut client, "G\n");
    expect(&mut client, "+PONG\n");
    // The next request has a minute of its own, also if it came along with the end of another.
    trickle(&server, &mut client, "P", 1);
    server.pass(limits::PARTIAL_MS - 1);
    say(&mut client, "ING\nPIN");
    expect(&mut client, "+PONG\n");
    server.pass(limits::PARTIAL_MS - 1);
    say(&mut client, "G\nP");
    expect(&mut client, "+PONG\n");
    server.pass(limits::PARTIAL_MS);
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn single_bytes_do_not_keep_a_request_open() {
    let server = manual();
    let mut client = server.client();
    for total in 1..=6 {
        trickle(&server, &mut client, "P", total);
        server.pass(limits::PARTIAL_MS / 6 - 1);
    }
    trickle(&server, &mut client, "P", 7);
    server.pass(6);
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn a_slow_line_may_take_long_for_a_large_request() {
    let server = manual();
    let mut other = server.client();
    let mut client = server.client();
    let enough = limits::PARTIAL_BYTES as usize;
    trickle(&server, &mut client, "P", 1);
    for minute in 1..=5 {
        trickle(&server, &mut client, &"P".repeat(enough), 1 + minute * enough);
        server.pass(limits::PARTIAL_MS);
        // The second answer comes from a turn after the one that looked at the deadlines.
        ping(&mut other);
        ping(&mut other);
    }
    // However much came before, each minute wants its share.
    trickle(&server, &mut client, &"P".repeat(enough - 1), 6 * enough);
    server.pass(limits::PARTIAL_MS);
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn what_is_thrown_away_must_come_too() {
    let server = manual();
    let mut client = server.client();
    say(&mut client, "PING\nSWALLOW 1000000\n");
    expect(&mut client, "+PONG\n");
    until("it was heard", || {
        server.pass(limits::PARTIAL_MS);
        server.registry().is_empty()
    });
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn clients_must_authenticate_in_time() {
    let server = manual();
    server.common.live.password.store(true, Relaxed);
    let (mut silent, mut known) = (server.client(), server.client());
    say(&mut known, "AUTH\n");
    ping(&mut known);
    server.pass(limits::UNAUTHENTICATED_MS);
    assert_eq!(rest(&mut silent), b"");
    ping(&mut known);
}

#[test]
fn strangers_may_not_send_much() {
    let server = system(1);
    server.common.live.password.store(true, Relaxed);
    let mut client = server.client();
    let flood = vec![b'a'; 64 << 10];
    while client.write_all(&flood).is_ok() {}
    until("it is closed", || server.registry().is_empty());
    assert_eq!(server.registry().evicted.load(Relaxed), 1);
}

#[test]
fn a_paused_client_waits_its_time() {
    let server = manual();
    let mut client = server.client();
    say(&mut client, "PAUSE 500\nPING\n");
    ping(&mut server.client());
    client.set_nonblocking(true).unwrap();
    let early = client.read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
    client.set_nonblocking(false).unwrap();
    until("it arrived", || server.registry().buffered.load(Relaxed) > 0);
    server.pass(500);
    expect(&mut client, "+PONG\n");
    ping(&mut client);
}

#[test]
fn refused_bytes_are_thrown_away() {
    let server = system(1);
    let mut client = server.client();
    for length in [1_usize, 10, 1_000_000] {
        say(&mut client, &format!("SWALLOW {length}\n{}PING\n", "\n".repeat(length)));
        expect(&mut client, "+PONG\n");
    }
}

#[test]
fn thousands_are_spread_evenly() {
    const COUNT: u64 = 4_000;
    let count = COUNT.min(machine::raise_descriptors(COUNT * 2 + 500).saturating_sub(500) / 2);
    let server = system(2);
    let mut clients: Vec<TcpStream> = (0..count).map(|_| server.connect()).collect();
    for client in &mut clients {
        say(client, "PING\n");
    }
    for client in &mut clients {
        expect(client, "+PONG\n");
    }
    let first = server.registry().entries().iter().filter(|entry| entry.worker == 0).count();
    assert!(first.abs_diff(clients.len() / 2) <= 1, "{first} of {count} with the first worker");
    assert_eq!(server.registry().buffered.load(Relaxed), 0, "idle clients own no buffer");
}

/// Requests of all kinds, cut anywhere, read at any pace: the replies are the same.
#[test]
fn random_pieces_make_no_difference() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = clock.as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let server = system(2);
    for _ in 0..20 {
        let (mut requests, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..random(400) {
            match random(3) {
                0 => {
                    requests.extend_from_slice(b"PING\n");
                    expected.extend_from_slice(b"+PONG\n");
                }
                1 => {
                    let length = random(100_000);
                    requests.extend_from_slice(format!("BIG {length}\n").as_bytes());
                    expected.resize(expected.len() + length, b'x');
                }
                _ => {
                    let length = random(10_000);
                    requests.extend_from_slice(format!("SWALLOW {length}\n").as_bytes());
                    requests.resize(requests.len() + length, b'\n');
                }
            }
        }
        requests.extend_from_slice(b"QUIT\nPING\n");
        expected.extend_from_slice(b"bye\n");
        let mut client = server.connect();
        let mut writer = client.try_clone().unwrap();
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < requests.len() {
            let most = if random(4) == 0 { 100_000 } else { 50 };
            let end = (at + 1 + random(most)).min(requests.len());
            pieces.push(requests[at..end].to_vec());
            at = end;
        }
        let writing = std::thread::spawn(move || {
            // The last piece comes after the goodbye and may find the connection closed.
            pieces.iter().try_for_each(|piece| writer.write_all(piece))
        });
        let got = rest(&mut client);
        let _ = writing.join().unwrap();
        assert!(got == expected, "{} bytes instead of {}", got.len(), expected.len());
    }
}

#[test]
fn a_server_without_clients_ends_if_told_so() {
    let mut server = Server::start_until(Clock::manual(1_000_000_000_000), 1, 100);
    let mut client = server.client();
    for _ in 0..3 {
        server.pass(1_000);
        // Whoever takes a client in looks at the time before it waits for the next.
        drop(server.client());
        ping(&mut client);
    }
    let acceptor = server.thread.take().unwrap();
    assert!(!acceptor.is_finished(), "it ended under its client");
    drop(client);
    until("it has ended", || {
        server.pass(1);
        acceptor.is_finished()
    });
    acceptor.join().unwrap();
}

#[test]
fn replies_wait_until_what_they_tell_is_safe() {
    let server = Server::start(Clock::system(), 1);
    let (mut writer, mut reader) = (server.client(), server.client());
    server.make_safe(1);
    writer.write_all(b"PING\nSAFE 5\nPING\nSAFE 9\nPING\n").unwrap();
    // While it waits, others are served; and nothing of it is answered in part.
    for _ in 0..3 {
        ping(&mut reader);
    }
    writer.set_nonblocking(true).unwrap();
    let early = writer.read(&mut [0; 1]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    writer.set_nonblocking(false).unwrap();
    server.make_safe(5);
    ping(&mut reader);
    server.make_safe(9);
    let mut answer = [0; 30];
    writer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\n+SAFE\n+PONG\n+SAFE\n+PONG\n");
    // What has left was settled then: it keeps nobody waiting where less is safe later.
    server.make_safe(5);
    ping(&mut writer);
    server.make_safe(9);
    // What waits for the disk isn't content with less.
    writer.write_all(b"SYNCED 9\n").unwrap();
    ping(&mut reader);
    writer.set_nonblocking(true).unwrap();
    assert!(writer.read(&mut [0; 1]).is_err());
    writer.set_nonblocking(false).unwrap();
    server.make_synced(9);
    let mut answer = [0; 8];
    writer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+SYNCED\n");
    ping(&mut writer);
    // What never becomes safe is never answered, and the server stops all the same.
    writer.write_all(b"SAFE 10\n").unwrap();
    ping(&mut reader);
    drop(server);
    assert_eq!(writer.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn replies_that_join_half_sent_ones_wait_too() {
    let server = Server::start(Clock::system(), 1);
    let mut writer = server.client();
    // What it says is to arrive when it's said.
    writer.set_nodelay(true).unwrap();
    let entry = server.registry().entries().pop().unwrap();
    let mut other = server.client();
    const EACH: usize = 1_000_000;
    let mut expected = 0;
    while entry.output.load(Relaxed) == 0 {
        say(&mut writer, &format!("BIG {EACH}\n"));
        expected += EACH;
        // Whoever is served after it knows that it was.
        ping(&mut other);
        ping(&mut other);
    }
    say(&mut writer, "SAFE 10\n");
    ping(&mut other);
    writer.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..20 {
        // All that the system has, and what the server would send now that there is room.
        assert!(writer.read_to_end(&mut bytes).is_err(), "it was closed");
        ping(&mut other);
    }
    assert!(bytes.iter().all(|byte| *byte == b'x'));
    writer.set_nonblocking(false).unwrap();
    server.make_safe(10);
    let mut rest = vec![0; expected + b"+SAFE\n".len() - bytes.len()];
    writer.read_exact(&mut rest).unwrap();
    assert!(rest.ends_with(b"x+SAFE\n"));
    ping(&mut writer);
}
