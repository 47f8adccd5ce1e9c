//! Starts servers for a comparison, with equal terms: the same cap, no persistence unless a workload
//! asks for it, one thread (or as many as told), the same processors.
//!
//! What always holds: servers listen on loopback only, on a port that was free a moment before, in a
//! folder of their own; a server that was started here is ended when its value is dropped.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::dialect::Dialect;
use crate::interrupt;
use crate::limits::PATIENCE;
use crate::load::Address;
use crate::machine::{self, Process};

/// The programs that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Our own.
    Sessile,
    /// redis-server.
    Redis,
    /// valkey-server.
    Valkey,
    /// memcached.
    Memcached,
}

impl Kind {
    /// All, in the order of reports.
    pub const ALL: [Self; 4] = [Self::Sessile, Self::Redis, Self::Valkey, Self::Memcached];

    /// Its name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessile => "sessile",
            Self::Redis => "redis",
            Self::Valkey => "valkey",
            Self::Memcached => "memcached",
        }
    }

    /// The program's file name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Sessile => "sessile",
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
            Self::Memcached => "memcached",
        }
    }

    /// What it can be spoken to in, the dialects that a comparison uses unless told.
    pub fn dialects(self) -> &'static [Dialect] {
        match self {
            Self::Sessile => &[Dialect::Session, Dialect::String, Dialect::Hash, Dialect::Meta],
            Self::Redis | Self::Valkey => &[Dialect::String, Dialect::Hash],
            Self::Memcached => &[Dialect::Text, Dialect::Meta],
        }
    }

    /// Whether it keeps anything across a restart.
    pub fn persists(self) -> bool {
        self != Self::Memcached
    }
}

/// Terms on which a server is started.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Bytes that it may use.
    pub memory: u64,
    /// Threads that execute requests.
    pub threads: usize,
    /// Whether it may evict (the least recently used) at the cap, else it refuses.
    pub evict: bool,
    /// Processors that it is kept on; empty: any.
    pub processors: Vec<usize>,
}

/// A server that was started here.
#[derive(Debug)]
pub struct Server {
    /// What it is.
    pub kind: Kind,
    /// Where it listens.
    pub address: Address,
    /// Its process.
    pub process: Process,
    /// The command line, as one could type it; the folder is named DIR.
    pub command: String,
    child: Child,
    words: Vec<String>,
    folder: PathBuf,
    terms: Terms,
    resp: bool,
}

/// The program of a kind, if it is on the PATH or was named.
pub fn find(kind: Kind, named: Option<&str>) -> Option<PathBuf> {
    if let Some(path) = named {
        return Path::new(path).canonicalize().ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(kind.program())).find(|p| p.is_file())
}

/// What a program says its version is, in a line.
pub fn version(program: &Path) -> String {
    let done = Command::new(program).arg("--version").output();
    let text = done.map(|done| String::from_utf8_lossy(&done.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

impl Server {
    /// Starts a server that will be spoken to in `dialect`, and waits until it answers. `folder` is
    /// a new or empty folder for its files.
    pub fn start(
        kind: Kind,
        program: &Path,
        dialect: Dialect,
        terms: &Terms,
        folder: &Path,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let port = free_port()?;
        let words = words(kind, dialect, port, terms, folder);
        let typed = [kind.program().to_owned()].into_iter().chain(words.iter().map(|w| quoted(w)));
        let command = typed.collect::<Vec<_>>().join(" ");
        let command = command.replace(&folder.display().to_string(), "DIR");
        let command = command.replace(&port.to_string(), "PORT");
        let words: Vec<String> = [program.display().to_string()].into_iter().chain(words).collect();
        let child = spawn(&words, terms, folder)?;
        let mut server = Self {
            kind,
            address: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            process: Process { id: child.id() },
            command,
            child,
            words,
            folder: folder.to_owned(),
            terms: terms.clone(),
            resp: dialect.is_resp(),
        };
        server.wait()?;
        Ok(server)
    }

    /// A connection for questions.
    pub fn control(&self) -> io::Result<Control> {
        Control::connect(&self.address, self.resp)
    }

    /// Ends it cleanly, saving everything where it can, and starts it again on the same folder.
    /// Returns how long it took to end, and from the start until it answered.
    pub fn restart(&mut self) -> io::Result<(Duration, Duration)> {
        let begun = Instant::now();
        if self.kind.persists() {
            // It hangs up instead of answering.
            let _ = self.control()?.ask("SHUTDOWN SAVE");
        } else {
            self.terminate();
        }
        self.reap()?;
        let ended = begun.elapsed();
        let begun = Instant::now();
        self.child = spawn(&self.words, &self.terms, &self.folder)?;
        self.process = Process { id: self.child.id() };
        self.wait()?;
        Ok((ended, begun.elapsed()))
    }

    /// Waits until it answers and has loaded what it had.
    fn wait(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let question = if self.resp { "DBSIZE" } else { "version" };
            if self.control().and_then(|mut control| control.ask(question)).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait()?.is_some();
            if ended || begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let end: Vec<_> = log.lines().rev().take(3).collect();
                let said = end.into_iter().rev().collect::<Vec<_>>().join(" | ");
                let name = self.kind.program();
                return Err(io::Error::other(format!("{name} doesn't answer: {said}")));
            }
            // Until a process is ready there is nothing that could be waited for instead.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        interrupt::measures(0);
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn terminate(&self) {
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody needs its data any more. Its number may be another's once it was waited for.
        interrupt::measures(0);
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a process on the processors of its terms.
fn spawn(words: &[String], terms: &Terms, folder: &Path) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let (program, args) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    let before = machine::processors();
    if !terms.processors.is_empty() {
        machine::keep_to(&terms.processors);
    }
    let child = command.spawn();
    machine::keep_to(&before);
    if let Ok(child) = &child {
        interrupt::measures(child.id());
    }
    child
}

fn words(kind: Kind, dialect: Dialect, port: u16, terms: &Terms, folder: &Path) -> Vec<String> {
    let port = port.to_string();
    let memory = terms.memory.to_string();
    let threads = terms.threads.to_string();
    let folder = folder.display().to_string();
    let policy = if terms.evict { "allkeys-lru" } else { "noeviction" };
    let persistence = ["--save", "", "--appendonly", "no"];
    let cap = ["--maxmemory", &memory, "--maxmemory-policy", policy];
    let place = ["--bind", "127.0.0.1", "--dir", &folder];
    let mut words: Vec<&str> = Vec::new();
    match kind {
        Kind::Sessile => {
            let (resp, text) =
                if dialect.is_resp() { (port.as_str(), "0") } else { ("0", port.as_str()) };
            words.extend(["--port", resp, "--memcached-port", text]);
            words.extend(["--io-threads", &threads]);
            words.extend(place.into_iter().chain(cap).chain(persistence));
        }
        Kind::Redis | Kind::Valkey => {
            words.extend(["--port", &port, "--io-threads", &threads]);
            words.extend(place.into_iter().chain(cap).chain(persistence));
        }
        Kind::Memcached => {
            words.extend(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-t", &threads]);
            if rustix::process::getuid().is_root() {
                words.extend(["-u", "root"]);
            }
            if !terms.evict {
                words.push("-M");
            }
            let mut words: Vec<_> = words.into_iter().map(str::to_owned).collect();
            words.extend(["-m".to_owned(), (terms.memory >> 20).max(1).to_string()]);
            return words;
        }
    }
    words.into_iter().map(str::to_owned).collect()
}

fn quoted(word: &str) -> String {
    if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, dialect: Dialect, evict: bool) -> String {
        let terms = Terms { memory: 64 << 20, threads: 1, evict, processors: Vec::new() };
        words(kind, dialect, 7000, &terms, Path::new("/tmp/x")).join(" ")
    }

    #[test]
    fn all_get_the_same_cap_and_policy() {
        for kind in [Kind::Sessile, Kind::Redis, Kind::Valkey] {
            let line = line(kind, Dialect::String, true);
            assert!(line.contains("--maxmemory 67108864 --maxmemory-policy allkeys-lru"), "{line}");
            assert!(line.contains("--appendonly no") && line.contains("--bind 127.0.0.1"));
        }
        assert!(line(Kind::Memcached, Dialect::Meta, true).contains("-m 64"));
        assert!(!line(Kind::Memcached, Dialect::Meta, true).contains("-M"));
        assert!(line(Kind::Memcached, Dialect::Meta, false).contains("-M"));
    }

    #[test]
    fn sessile_listens_in_the_protocol_that_is_spoken() {
        assert!(
            line(Kind::Sessile, Dialect::Hash, true).contains("--port 7000 --memcached-port 0")
        );
        assert!(
            line(Kind::Sessile, Dialect::Text, true).contains("--port 0 --memcached-port 7000")
        );
    }

    #[test]
    fn a_program_that_ends_at_once_is_an_error_that_says_so() {
        let folder = std::env::temp_dir().join(format!("sessile-bench-{}", std::process::id()));
        let terms = Terms { memory: 1 << 20, threads: 1, evict: true, processors: Vec::new() };
        let program = Path::new("/bin/false");
        let error = Server::start(Kind::Redis, program, Dialect::String, &terms, &folder);
        let _ = std::fs::remove_dir_all(&folder);
        assert!(error.unwrap_err().to_string().contains("redis-server doesn't answer"));
    }
}
