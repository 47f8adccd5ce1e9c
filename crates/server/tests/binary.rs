//! The binary as a whole: start, readiness, ends, and what it says when it can't start.

#![expect(clippy::unwrap_used, reason = "a test says what failed by failing")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const SESSILE: &str = env!("CARGO_BIN_EXE_sessile");

struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    said: String,
}

impl Server {
    /// Starts one and reads its log until it is ready.
    fn start(arguments: &[&str]) -> Self {
        let ports =
            ["--port", "0", "--memcached-port", "0", "--io-threads", "1", "--appendonly", "no"];
        let mut child = Command::new(SESSILE)
            .args(ports)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ready to accept connections") {
            assert_ne!(output.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        Self { child, output, said }
    }

    /// Sends a signal and returns the exit code and the rest of the log.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        send(signal, self.child.id());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

fn ping(socket: &Path) {
    exchange(&mut UnixStream::connect(socket).unwrap());
}

fn exchange(stream: &mut UnixStream) {
    stream.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
}

fn refused(arguments: &[&str]) -> String {
    let output = Command::new(SESSILE).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_starts_serves_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let pidfile = folder.path().join("s.pid");
    for signal in ["TERM", "INT"] {
        let server = Server::start(&[
            "--unixsocket",
            socket.to_str().unwrap(),
            "--unixsocketperm",
            "600",
            "--pidfile",
            pidfile.to_str().unwrap(),
        ]);
        let pid = server.child.id();
        let (before, after) = server.said.split_once("Server initialized").unwrap();
        assert!(before.contains(&format!(" PID: {pid}\n")), "{before}");
        assert!(after.contains("Ready to accept connections"));
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&pidfile).unwrap().trim(), pid.to_string());
        ping(&socket);
        send("HUP", pid);
        ping(&socket);
        let (code, rest) = server.end(signal);
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains(&format!("Received SIG{signal}")), "{rest}");
        assert!(!socket.exists() && !pidfile.exists());
    }
}

#[test]
fn a_pause_without_end_is_ended_by_somebody_new() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let _server =
        Server::start(&["--unixsocket", socket.to_str().unwrap(), "--requirepass", "secret"]);
    let say = |stream: &mut UnixStream, line: &str, expected: &str| {
        stream.write_all(line.as_bytes()).unwrap();
        let mut reply = vec![0; expected.len()];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(String::from_utf8_lossy(&reply), expected);
    };
    let connect = || UnixStream::connect(&socket).unwrap();
    let (mut guilty, mut waiting, mut helper) = (connect(), connect(), connect());
    for client in [&mut guilty, &mut waiting] {
        say(client, "AUTH secret\r\n", "+OK\r\n");
    }
    say(&mut guilty, "CLIENT PAUSE 9223372036854775807\r\n", "+OK\r\n");
    waiting.write_all(b"PING\r\n").unwrap();
    // It connects as libraries do, which tell their name first.
    let hello = "AUTH secret\r\nSELECT 0\r\nCLIENT SETINFO lib-name x\r\nCLIENT UNPAUSE\r\n";
    say(&mut helper, hello, &"+OK\r\n".repeat(4));
    say(&mut waiting, "", "+PONG\r\n");
    exchange(&mut guilty);
}

#[test]
fn without_descriptors_it_goes_on() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let server = Server::start(&["--unixsocket", socket.to_str().unwrap()]);
    let mut first = UnixStream::connect(&socket).unwrap();
    exchange(&mut first);
    let pid = Pid::from_raw(i32::try_from(server.child.id()).unwrap());
    let few = Rlimit { current: Some(40), maximum: Some(40) };
    prlimit(pid, Resource::Nofile, few).unwrap();
    let crowd: Vec<UnixStream> = (0..60).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    exchange(&mut first);
    drop(crowd);
    ping(&socket);
    exchange(&mut first);
    assert_eq!(server.end("TERM").0, Some(0));
}

#[test]
fn memory_that_is_freed_goes_back_to_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let server = Server::start(&["--unixsocket", socket.to_str().unwrap()]);
    let mut stream = UnixStream::connect(&socket).unwrap();
    let value = "v".repeat(100);
    // Two hashes that grow in turn: what one leaves lies between what the other has.
    for from in (0..400_000).step_by(1_000) {
        let add = |field: u32| format!("HSET hash:{} field:{field} {value}\r\n", field % 2);
        let requests: String = (from..from + 1_000).map(add).collect();
        stream.write_all(requests.as_bytes()).unwrap();
        let mut replies = vec![0; 4 * 1_000];
        stream.read_exact(&mut replies).unwrap();
    }
    let pid = server.child.id();
    let resident = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
    };
    assert!(resident() > 40 << 20, "{}", resident());
    stream.write_all(b"FLUSHALL\r\n").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    wait("the memory is given back", || resident() < 32 << 20);
    assert_eq!(server.end("TERM").0, Some(0));
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let path = socket.to_str().unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = Server::start(&["--unixsocket", path]);
    let said = refused(&[
        "--port",
        "0",
        "--memcached-port",
        "0",
        "--appendonly",
        "no",
        "--unixsocket",
        path,
    ]);
    assert!(said.contains("can't listen on"), "{said}");
    ping(&socket);
    assert_eq!(server.end("TERM").0, Some(0));
}

#[test]
fn a_socket_that_was_taken_over_stays() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let path = socket.to_str().unwrap();
    let first = Server::start(&["--unixsocket", path]);
    std::fs::remove_file(&socket).unwrap();
    let second = Server::start(&["--unixsocket", path]);
    assert_eq!(first.end("TERM").0, Some(0));
    ping(&socket);
    assert_eq!(second.end("TERM").0, Some(0));
    assert!(!socket.exists());
}

/// Whatever the umask, the first look at a socket finds it with the permissions that were asked
/// for.
#[test]
fn a_socket_has_its_permissions_from_the_start() {
    let cases = [
        ("000", "600", 0o600),
        ("000", "700", 0o700),
        ("000", "660", 0o660),
        ("077", "666", 0o666),
        ("077", "777", 0o777),
        ("022", "770", 0o770),
        ("027", "0", 0o750),
    ];
    for (umask, asked, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["r.sock", "m.sock"].map(|name| folder.path().join(name));
        let watchers = paths.clone().map(|path| {
            std::thread::spawn(move || {
                let start = Instant::now();
                loop {
                    if let Ok(found) = std::fs::symlink_metadata(&path) {
                        return found.permissions().mode() & 0o7777;
                    }
                    assert!(start.elapsed() < Duration::from_secs(30), "there is no socket");
                }
            })
        });
        let mut child = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), SESSILE])
            .args([
                "--port",
                "0",
                "--memcached-port",
                "0",
                "--io-threads",
                "1",
                "--appendonly",
                "no",
            ])
            .args(["--unixsocketperm", asked, "--loglevel", "nothing"])
            .args([Path::new("--unixsocket"), &paths[0]])
            .args([Path::new("--memcached-unixsocket"), &paths[1]])
            .spawn()
            .unwrap();
        let first = watchers.map(|watcher| watcher.join().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(first, [expected; 2], "umask {umask}, unixsocketperm {asked}");
    }
}

#[test]
fn both_protocols_tell_the_bytes_of_all_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let [resp, memcached] = ["r.sock", "m.sock"].map(|name| folder.path().join(name));
    let (one, two) = (resp.to_str().unwrap(), memcached.to_str().unwrap());
    let _server = Server::start(&["--unixsocket", one, "--memcached-unixsocket", two]);
    let ask = |path: &Path, request: &str| {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    };
    let number = |text: &str, name: &str| -> usize {
        let (_, after) = text.split_once(name).unwrap();
        after.get(1..).unwrap().lines().next().unwrap().parse().unwrap()
    };
    let value = "v".repeat(1_000_000);
    let stored = ask(&memcached, &format!("set k 0 0 1000000\r\n{value}\r\nget k\r\n"));
    let (sent, received) = (1_000_000 + 19 + 2 + 7, stored.len());
    let info = ask(&resp, "INFO stats\r\n");
    assert_eq!(number(&info, "total_net_input_bytes"), sent + 12);
    assert_eq!(number(&info, "total_net_output_bytes"), received);
    let stats = ask(&memcached, "stats\r\n");
    assert_eq!(number(&stats, "bytes_read"), sent + 12 + 7);
    assert_eq!(number(&stats, "bytes_written"), received + info.len());
    // Each has a reset of its own.
    ask(&memcached, "stats reset\r\n");
    assert_eq!(number(&ask(&memcached, "stats\r\n"), "bytes_read"), 7);
    assert!(number(&ask(&resp, "INFO stats\r\n"), "total_net_input_bytes") > sent);
    ask(&resp, "CONFIG RESETSTAT\r\n");
    assert_eq!(number(&ask(&resp, "INFO stats\r\n"), "total_net_input_bytes"), 12);
}

#[test]
fn a_client_sees_how_another_stands() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let _server = Server::start(&["--unixsocket", socket.to_str().unwrap()]);
    let connect = || BufReader::new(UnixStream::connect(&socket).unwrap());
    let say = |stream: &mut BufReader<UnixStream>, request: &str| {
        stream.get_mut().write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line
    };
    let (mut watched, mut other) = (connect(), connect());
    let id = say(&mut watched, "CLIENT ID").trim_start_matches(':').trim().to_owned();
    let cases = [
        ("PING", "+PONG", "U", "-1", "0", "ping"),
        ("WATCH a b", "+OK", "U", "-1", "2", "watch"),
        ("MULTI", "+OK", "xU", "0", "2", "multi"),
        ("SET a 1", "+QUEUED", "xU", "1", "2", "set"),
        ("DISCARD", "+OK", "U", "-1", "0", "discard"),
        ("CLIENT NO-EVICT on", "+OK", "Ue", "-1", "0", "client|no-evict"),
        ("CLIENT NO-TOUCH on", "+OK", "UeT", "-1", "0", "client|no-touch"),
    ];
    for (request, reply, flags, multi, watch, command) in cases {
        assert_eq!(say(&mut watched, request).trim_end(), reply);
        assert!(say(&mut other, &format!("CLIENT LIST ID {id}")).starts_with('$'));
        let mut line = String::new();
        other.read_line(&mut line).unwrap();
        other.read_line(&mut String::new()).unwrap();
        let told = |name: &str| {
            let field = line.split(' ').find_map(|word| word.strip_prefix(name));
            field.unwrap_or_default().to_owned()
        };
        let found = ["flags=", "multi=", "watch=", "cmd="].map(told);
        assert_eq!(found, [flags, multi, watch, command], "{request}: {line}");
    }
}

#[test]
fn what_is_wrong_is_one_line_and_exit_1() {
    assert_eq!(refused(&["--bogus", "1"]), "sessile: command line: 'bogus': unknown directive\n");
    assert!(refused(&["/none.conf"]).contains("/none.conf: can't read the configuration"));
    let said = refused(&["--port", "0", "--memcached-port", "0"]);
    assert!(said.contains("nothing to listen on"), "{said}");
}

#[test]
fn help_and_version() {
    for (argument, text) in [("--help", "--maxmemory-policy"), ("--version", "sessile ")] {
        let output = Command::new(SESSILE).arg(argument).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains(text));
    }
}

#[test]
fn in_the_background_it_logs_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (socket, log, pidfile) = (path("s.sock"), path("s.log"), path("s.pid"));
    let mut starter = Command::new(SESSILE)
        .args(["-", "--port", "0", "--memcached-port", "0", "--appendonly", "no"])
        .args(["--daemonize", "yes", "--logfile", log.to_str().unwrap()])
        .args(["--pidfile", pidfile.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let configuration = format!("unixsocket {}\n", socket.display());
    starter.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
    assert_eq!(starter.wait().unwrap().code(), Some(0));
    let logged = |text: &str| std::fs::read_to_string(&log).is_ok_and(|lines| lines.contains(text));
    wait("it is ready", || logged("Ready to accept connections"));
    ping(&socket);
    let pid: u32 = std::fs::read_to_string(&pidfile).unwrap().trim().parse().unwrap();
    assert_ne!(pid, starter.id());
    send("TERM", pid);
    wait("it has ended", || logged("bye bye"));
}

fn wait(what: &str, met: impl Fn() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::yield_now();
    }
}
