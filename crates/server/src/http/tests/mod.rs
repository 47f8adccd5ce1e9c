//! Metrics as text, and the loop over real sockets with a clock that tests move.

mod requests;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use commands::counters::Durations;
use node::Reading;

use super::facts::{Command, Facts, Health, Memory, Slow};
use super::metrics::Kind;
use super::{Admin, Source, metrics, stats};
use crate::limits;
use crate::os::clock::Clock;
use crate::os::socket;

fn facts() -> Facts {
    let command =
        |name: &str, calls| Command { name: name.to_owned(), calls, failed: 1, rejected: 1 };
    Facts {
        health: Health::Serving,
        now_ms: 1_700_000_060_000,
        started_ms: 1_700_000_000_000,
        requests: (7, 5),
        clients: 3,
        clients_ever: (10, 1, 2),
        moved: (1 << 60, 2),
        commands: vec![command("get", 4), command("client|list", 0)],
        errors: vec![("a\"b\\c\nd".to_owned(), 2)],
        durations: Durations {
            calls: 30,
            nanoseconds: 12_345_678,
            counts: vec![(1023, 10), (1087, 15), (536_870_911, 3), ((1 << 30) - 1, 2)],
        },
        shards: Reading { keys: 9, live_bytes: 100, item_bytes: 150, ..Reading::default() },
        memory: Memory { arena: 1000, heap: 500, clients: 40, limit: 0, resident: 2000 },
        clock_steps: 0,
        processor_us: (1_500_000, 20),
        syncs: None,
        slow: vec![Slow {
            command: "get".to_owned(),
            key: "</script>\u{1}".to_owned(),
            ..Slow::default()
        }],
    }
}

#[derive(Debug)]
struct Fixed;

impl Source for Fixed {
    fn health(&self) -> Health {
        Health::LogFailed
    }
    fn facts(&self) -> Facts {
        facts()
    }
}

/// Reads the format strictly: of each family its kind, and of each sample its value.
fn read(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, f64>) {
    assert!(text.ends_with('\n'));
    let (mut kinds, mut values) = (BTreeMap::new(), BTreeMap::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!text.is_empty() && !text.contains('\\'));
            family = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(sample.starts_with(&family) && kinds.contains_key(&family), "{line}");
            assert!(!line.starts_with('#'));
            let value = value.parse().unwrap();
            assert!(values.insert(sample.to_owned(), value).is_none(), "{sample} twice");
        }
    }
    (kinds, values)
}

#[test]
fn metrics_are_well_formed_and_well_named() {
    let (kinds, values) = read(&metrics::text(&facts()));
    for metric in metrics::all() {
        let name = metric.name;
        let ours = name.starts_with("sessile_") || name.starts_with("process_");
        let is_fit = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        assert!(ours && name.chars().all(is_fit), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert!(!["_ms", "_us", "_kb", "_mb"].iter().any(|unit| name.contains(unit)), "{name}");
        assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\', '|']), "{name}");
        match kinds.get(name) {
            Some(kind) => assert_eq!(kind, metric.kind.word()),
            None => assert!(name.starts_with("sessile_log_"), "{name} isn't told"),
        }
    }
    let bucket =
        |le: &str| values[&format!("sessile_command_duration_seconds_bucket{{le=\"{le}\"}}")];
    assert_eq!((bucket("1.024e-6"), bucket("2.048e-6")), (10.0, 25.0));
    assert_eq!((bucket("0.268435456"), bucket("0.536870912"), bucket("+Inf")), (25.0, 28.0, 30.0));
    assert_eq!(values["sessile_command_duration_seconds_count"], 30.0);
    assert_eq!(values["sessile_errors_total{code=\"a\\\"b\\\\c\\nd\"}"], 2.0);
    assert_eq!(values["sessile_requests_total{protocol=\"memcached\"}"], 5.0);
    assert_eq!(values["sessile_commands_failed_total{command=\"client|list\"}"], 1.0);
    let memory = values.iter().filter(|(name, _)| name.starts_with("sessile_memory_bytes"));
    assert_eq!(memory.map(|(_, bytes)| bytes).sum::<f64>(), 1500.0);
}

#[test]
fn json_is_harmless_in_a_script() {
    let text = stats::json(&facts());
    assert!(text.contains(r#""key":"\u003c/script\u003e\u0001""#), "{text}");
    assert!(text.starts_with(r#"{"version":"#) && text.ends_with("}]}"), "{text}");
}

#[test]
fn the_documented_list_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/admin.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("<!-- metrics -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of metrics -->").unwrap();
    let list = metrics::list();
    let wanted = format!("{before}<!-- metrics -->\n{list}<!-- end of metrics -->{after}");
    if std::env::var_os("SESSILE_WRITE_SAMPLE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert_eq!(text, wanted, "SESSILE_WRITE_SAMPLE=1 writes it");
    }
}

/// The admin page on any port, with a clock that stands still.
struct Page {
    at: SocketAddr,
    clock: Clock,
    admin: Admin,
}

impl Page {
    fn start(source: Option<Arc<dyn Source>>) -> Self {
        let socket = socket::listen_tcp("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let at = socket::local_address(&socket).unwrap().unwrap();
        let clock = Clock::manual(1_700_000_000_000_000);
        let admin = Admin::start(vec![(socket, at)], Vec::new(), clock.clone()).unwrap();
        if let Some(source) = source {
            admin.tell_of(source);
        }
        Self { at, clock, admin }
    }

    fn open(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, host: &str) -> String {
        rest(&mut self.open(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")))
    }
}

/// What comes until the other end closes, in whatever way.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn answers_before_and_after_loading() {
    let page = Page::start(None);
    for path in ["/healthz", "/metrics", "/api/stats"] {
        let answer = page.ask("GET", path, "localhost");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{\"status\":\"loading\"}\n"), "{answer}");
    }
    assert!(page.ask("GET", "/", "localhost").starts_with("HTTP/1.1 200 "));
    page.admin.tell_of(Arc::new(Fixed));
    let health = page.ask("GET", "/healthz", "localhost");
    assert!(health.starts_with("HTTP/1.1 503 ") && health.contains("log_failed"), "{health}");
    let metrics = page.ask("GET", "/metrics", "127.0.0.1");
    assert!(metrics.contains("Content-Type: text/plain; version=0.0.4"), "{metrics}");
    read(metrics.split_once("\r\n\r\n").unwrap().1);
    assert!(page.ask("GET", "/x", "localhost").starts_with("HTTP/1.1 404 "));
    assert!(page.ask("GET", "/", "evil.example").starts_with("HTTP/1.1 421 "));
    assert!(page.ask("PUT", "/", "localhost").contains("\r\nAllow: GET, HEAD\r\n"));
    let head = page.ask("HEAD", "/metrics", "localhost");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    page.admin.stop();
}

#[test]
fn the_page_asks_nobody_else_and_runs_only_its_own_script() {
    let page = Page::start(None);
    let (one, two) = (page.ask("GET", "/", "localhost"), page.ask("GET", "/", "localhost"));
    let nonce =
        |text: &str| text.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0.to_owned();
    assert_ne!(nonce(&one), nonce(&two));
    assert_eq!(nonce(&one).len(), 32);
    assert!(one.contains("default-src 'none'; script-src 'nonce-"));
    for word in
        ["http://", "https://", "unsafe-inline", "{nonce}", "{style}", "{script}", "style=\""]
    {
        assert!(!one.contains(word), "{word}");
    }
    assert_eq!(one.matches("<script nonce=").count(), one.matches("<script").count());
    page.admin.stop();
}

#[test]
fn slow_clients_end_and_shut_nobody_out() {
    let page = Page::start(Some(Arc::new(Fixed)));
    let mut slow: Vec<_> =
        (0..limits::HTTP_CONNECTIONS + 4).map(|_| page.open("GET / HTTP/1.1\r\nHo")).collect();
    // Those that came first have gone to make room.
    assert!(page.ask("GET", "/healthz", "localhost").starts_with("HTTP/1.1 503 "));
    assert_eq!(rest(&mut slow[0]), "");
    // The others go when their time is up; a request has the loop look at the clock.
    page.clock.advance_ms(limits::HTTP_HEAD_MS);
    assert!(page.ask("GET", "/healthz", "localhost").starts_with("HTTP/1.1 503 "));
    slow.iter_mut().for_each(|one| assert_eq!(rest(one), ""));
    page.admin.stop();
}
