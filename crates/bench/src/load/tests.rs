//! The generator against a server whose behaviour is known, because it is written here.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::*;
use crate::dialect::Dialect;

/// Answers each request after what `wait` does with its number. Requests are told by their lines.
struct Known {
    address: Address,
    served: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Known {
    /// RESP with requests of two words, such as GET: five lines.
    fn start(reply: &'static [u8], wait: impl Fn(u64) + Clone + Send + 'static) -> Self {
        Self::speaking(5, reply, wait)
    }

    fn speaking(
        lines: usize,
        reply: &'static [u8],
        wait: impl Fn(u64) + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let (served, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, ended) = (Arc::clone(&served), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut clients = Vec::new();
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (counter, wait) = (Arc::clone(&counter), wait.clone());
                let stream = stream.unwrap();
                let client = move || serve(stream, lines, reply, &counter, wait);
                clients.push(std::thread::spawn(client));
            }
            for client in clients {
                client.join().unwrap();
            }
        });
        Self { address, served, stop, thread: Some(thread) }
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = Socket::connect(&self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    mut stream: TcpStream,
    per_request: usize,
    reply: &[u8],
    served: &AtomicU64,
    wait: impl Fn(u64),
) {
    stream.set_nodelay(true).unwrap();
    let mut lines = 0;
    let mut buffer = [0; 64 << 10];
    loop {
        let bytes = stream.read(&mut buffer).unwrap_or(0);
        if bytes == 0 {
            return;
        }
        lines += buffer[..bytes].iter().filter(|&&byte| byte == b'\n').count();
        while lines >= per_request {
            lines -= per_request;
            wait(served.fetch_add(1, Ordering::SeqCst));
            if stream.write_all(reply).is_err() {
                return;
            }
        }
    }
}

const FOUND: &[u8] = b"$3\r\nabc\r\n";

fn workload(connections: usize) -> Workload {
    let text = format!(
        "title=T\nabout=A\nsessions=1000\nbytes=300\nidle=1d\nslide=no\npopularity=uniform\n\
         mix=load 1\nconnections={connections}\nrate=10\nmemory=1mb\nwarm-up=100ms\nlength=1s"
    );
    crate::workload::parse("x", &text).unwrap()
}

fn open(rate: f64) -> Pace {
    Pace::Open { rate, arrivals: Arrivals::Even, burst: None }
}

fn load(server: &Known, pace: Pace, connections: usize, seconds: f64) -> Seen {
    let workload = workload(connections);
    let job = Job {
        length: Duration::from_secs_f64(seconds),
        ..Job::new(&workload, &server.address, Dialect::String, pace)
    };
    run(&job, &mut Visitors::new(&workload, 1)).unwrap()
}

#[test]
fn a_fixed_delay_is_what_the_closed_loop_sees() {
    let server = Known::start(FOUND, |_| std::thread::sleep(Duration::from_millis(10)));
    let seen = load(&server, Pace::Closed, 4, 1.0);
    // A sleep takes what it is told or longer, never less; how much longer is the machine's business.
    assert!(seen.latency.at(0.001) >= Duration::from_millis(10));
    assert!(seen.operations <= 4 * 101, "{}", seen.operations);
    assert_eq!(seen.sought, server.served());
    assert_eq!((seen.missing, seen.refused, seen.unanswered), (0, 0, 0));
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let server = Known::start(FOUND, |_| {});
    let seen = load(&server, open(500.0), 8, 2.0);
    // Every request that was due is there, none more: that depends on no clock.
    assert_eq!(seen.latency.count(), 1000);
    assert_eq!(server.served(), 1050, "with those of the warm-up");
    let due: u64 = seen.timeline.iter().map(|slice| slice.operations).sum();
    assert_eq!(due, 1000);
    assert!(seen.timeline.iter().all(|slice| slice.operations.abs_diff(50) <= 1));
}

#[test]
fn a_pause_of_a_second_shows_as_one_in_the_open_loop() {
    // Request 400 stalls everything for a second, as a lock or a fork would.
    let gate = Arc::new(std::sync::Mutex::new(()));
    let wait = move |served| {
        let _gate = gate.lock().unwrap();
        if served == 400 {
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    let server = Known::start(FOUND, wait.clone());
    let seen = load(&server, open(500.0), 4, 3.0);
    assert_eq!(seen.latency.count(), 1500);
    assert!(seen.latency.most() >= Duration::from_millis(990), "{:?}", seen.latency.most());
    // 500 requests were due while it stood still, evenly spread over the second: half of them waited
    // for more than half of it. At least 450 waited 0.1 s or longer, so the slowest third did.
    let slow = 1.0 - 450.0 / 1500.0;
    assert!(seen.latency.at(slow) >= Duration::from_millis(95), "{:?}", seen.latency.at(slow));
    let half = 1.0 - 250.0 / 1500.0;
    assert!(seen.latency.at(half) >= Duration::from_millis(480), "{:?}", seen.latency.at(half));
    // The timeline says when: it began 0.7 s after the warm-up, and faded over the second after.
    let at = |second: f64| seen.timeline.iter().find(|slice| slice.at > second - 0.05).unwrap();
    assert!(at(0.7).most >= 895.0, "{:?}", at(0.7));
    assert!(at(1.1).most >= 495.0, "{:?}", at(1.1));
    assert!(at(1.5).most >= 95.0, "{:?}", at(1.5));

    // The closed loop asks no more while it waits: one slow request per connection, where the open
    // loop had hundreds. (Some more are let pass: a busy machine has stalls of its own.)
    let server = Known::start(FOUND, wait);
    let workload = workload(4);
    let job = Job {
        warm_up: Duration::ZERO,
        length: Duration::from_secs(3),
        ..Job::new(&workload, &server.address, Dialect::String, Pace::Closed)
    };
    let seen = run(&job, &mut Visitors::new(&workload, 1)).unwrap();
    assert!(seen.latency.most() >= Duration::from_millis(990) || server.served() <= 400);
    let slow = 1.0 - 60.0 / seen.latency.count() as f64;
    assert!(seen.latency.at(slow) < Duration::from_millis(480), "{:?}", seen.latency.at(slow));
}

#[test]
fn what_was_never_answered_counts_as_long_as_it_was_waited_for() {
    let open_gate = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open_gate);
    let server = Known::start(FOUND, move |served| {
        while served >= 50 && !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let begun = Instant::now();
    let seen = load(&server, open(100.0), 2, 1.0);
    assert!(begun.elapsed() >= crate::limits::DRAIN);
    assert_eq!(seen.latency.count(), 100);
    assert_eq!(seen.unanswered, 100 - 40, "ten of the first fifty were the warm-up's");
    assert!(seen.latency.at(0.99) >= crate::limits::DRAIN);
    open_gate.store(true, Ordering::SeqCst);
}

#[test]
fn pipelined_requests_are_all_answered() {
    let server = Known::start(FOUND, |_| {});
    let workload = workload(3);
    let job = Job {
        pipeline: 16,
        length: Duration::from_millis(300),
        ..Job::new(&workload, &server.address, Dialect::String, Pace::Closed)
    };
    let seen = run(&job, &mut Visitors::new(&workload, 1)).unwrap();
    assert_eq!(seen.by_op.iter().sum::<u64>(), server.served());
    assert_eq!(server.served() % 16, 0);
    assert!(seen.operations > 0 && seen.rate() > 0.0);
}

#[test]
fn misses_and_refusals_are_counted() {
    let server = Known::start(b"$-1\r\n", |_| {});
    let seen = load(&server, open(200.0), 2, 0.5);
    assert_eq!((seen.missing, seen.sought, seen.refused), (120, 120, 0));
    let server = Known::start(b"-ERR full\r\n", |_| {});
    let seen = load(&server, open(200.0), 2, 0.5);
    assert_eq!(seen.refused, 120);
    assert_eq!(seen.refusal.as_deref(), Some("-ERR full"));
}

#[test]
fn a_server_that_hangs_up_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || drop(listener.accept()));
    let workload = workload(1);
    let job = Job::new(&workload, &address, Dialect::String, Pace::Closed);
    assert!(run(&job, &mut Visitors::new(&workload, 1)).is_err());
    thread.join().unwrap();
}

#[test]
fn the_search_finds_the_rate_of_a_server_that_can_do_so_many() {
    // One request at a time and 4 ms each: 250 per second at the very most.
    let gate = Arc::new(std::sync::Mutex::new(()));
    let server = Known::start(FOUND, move |_| {
        let _gate = gate.lock().unwrap();
        std::thread::sleep(Duration::from_millis(4));
    });
    let workload = workload(4);
    let job = Job {
        length: Duration::from_millis(500),
        ..Job::new(&workload, &server.address, Dialect::String, open(1.0))
    };
    let mut visitors = Visitors::new(&workload, 1);
    let found = find_rate(&job, &mut visitors, Duration::from_millis(40), 1000.0, 5).unwrap();
    assert!(found.rate <= 280.0, "{found:?}");
    assert_eq!(found.tried.len(), 5);
    assert!(found.tried.iter().all(|&(rate, p99, met)| met == (rate <= found.rate && p99 <= 0.04)));
}

#[test]
fn filling_creates_every_session() {
    let server = Known::speaking(2, b"STORED\r\n", |_| {});
    let workload = Workload { sessions: 67, ..workload(2) };
    let job = Job::new(&workload, &server.address, Dialect::Text, Pace::Fill);
    let job = Job { pipeline: 8, ..job };
    let seen = run(&job, &mut Visitors::new(&workload, 1)).unwrap();
    assert_eq!((seen.operations, server.served()), (67, 67));
    assert_eq!((seen.refused, seen.sought), (0, 0));
}
