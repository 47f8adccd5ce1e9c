//! A redis-server of our own, on a free port and in a folder of its own, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to start, load or save.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Text(Vec<u8>),
    Number(i64),
    Nil,
    Many(Vec<Self>),
}

impl Reply {
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Text(bytes) => bytes,
            other => panic!("not a string: {other:?}"),
        }
    }

    pub(crate) fn list(self) -> Vec<Vec<u8>> {
        match self {
            Self::Many(all) => all.into_iter().map(Self::bytes).collect(),
            other => panic!("not a list: {other:?}"),
        }
    }
}

/// A server, killed when it's dropped.
pub(crate) struct Server {
    child: Child,
    client: BufReader<TcpStream>,
    pub(crate) folder: TempDir,
}

impl Server {
    /// Starts an empty one.
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), more)
    }

    /// Starts one with what lies in a folder.
    pub(crate) fn start_in(folder: TempDir, more: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--dir", folder.path().to_str().unwrap(), "--logfile", "log"])
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed for this test: apt-get install redis-server");
        let from = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                panic!("redis-server ended ({status}):\n{log}");
            }
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut server = Self { child, client: BufReader::new(stream), folder };
                while server.try_run(&[b"PING"]).is_err() {
                    assert!(from.elapsed() < PATIENCE, "redis-server doesn't finish loading");
                    std::thread::yield_now();
                }
                return server;
            }
            assert!(from.elapsed() < PATIENCE, "redis-server doesn't listen");
            std::thread::yield_now();
        }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command that must succeed.
    pub(crate) fn run(&mut self, args: &[&[u8]]) -> Reply {
        self.try_run(args).unwrap_or_else(|error| {
            panic!("{}: {error}", args.join(&b' ').escape_ascii());
        })
    }

    /// The same, of words of text.
    pub(crate) fn say(&mut self, words: &str) -> Reply {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.run(&args)
    }

    pub(crate) fn try_run(&mut self, args: &[&[u8]]) -> Result<Reply, String> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.client.get_mut().write_all(&request).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply, String> {
        let mut line = String::new();
        self.client.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        Ok(match kind {
            "+" => Reply::Text(rest.as_bytes().to_vec()),
            "-" => return Err(rest.to_owned()),
            ":" => Reply::Number(rest.parse().unwrap()),
            "$" if rest == "-1" => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.client.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Text(bytes)
            }
            "*" => {
                let count = rest.parse::<usize>().unwrap();
                Reply::Many((0..count).map(|_| self.reply()).collect::<Result<_, _>>()?)
            }
            _ => panic!("a reply of another kind: {line:?}"),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs one of Redis' tools on a file; what it printed.
pub(crate) fn tool(name: &str, path: &Path) -> (bool, String) {
    let run = Command::new(name).arg(path).stdin(Stdio::null()).output();
    let Output { status, stdout, .. } = run
        .unwrap_or_else(|error| panic!("{name} is needed: apt-get install redis-tools: {error}"));
    (status.success(), String::from_utf8_lossy(&stdout).into_owned())
}
