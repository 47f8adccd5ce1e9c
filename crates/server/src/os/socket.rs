//! Listening and connected sockets: TCP over IPv4 and IPv6, and Unix sockets.
//!
//! All sockets are non-blocking and closed on exec. A Unix socket has its final permissions from the
//! moment it has a name, because it is bound under a umask: there is no window for a stranger.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, RenameFlags, renameat_with};
use rustix::net::sockopt;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
};

/// Who is at the other end, or which end this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP end.
    Tcp(SocketAddr),
    /// A Unix socket, by the path of the listener.
    Unix(Box<str>),
}

impl Address {
    /// Whether only this machine can be there.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(at) => match at.ip() {
                IpAddr::V4(ip) => ip.is_loopback(),
                IpAddr::V6(ip) => {
                    ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
                }
            },
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(path) => write!(f, "{path}:0"),
        }
    }
}

/// Listens on a TCP address.
pub fn listen_tcp(at: SocketAddr, backlog: u32) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags(), None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, backlog_of(backlog))?;
    Ok(socket)
}

/// Listens on a Unix socket at `path`, which is removed first if a dead socket lies there. `mode` is
/// the permission bits it has; `None` leaves them to the process's umask.
///
/// The name appears when somebody listens already, in place of what lay there: whoever finds it can
/// connect. The umask is the process's, so this belongs before the first thread.
pub fn listen_unix(path: &Path, mode: Option<u32>, backlog: u32) -> io::Result<OwnedFd> {
    remove_dead(path)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags(), None)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    remove_dead(aside)?;
    let at = SocketAddrUnix::new(aside)?;
    let bound = match mode {
        Some(mode) => {
            let before = rustix::process::umask(Mode::from_raw_mode(!mode & 0o777));
            let bound = rustix::net::bind(&socket, &at);
            rustix::process::umask(before);
            bound
        }
        None => rustix::net::bind(&socket, &at),
    };
    bound?;
    let ready = rustix::net::listen(&socket, backlog_of(backlog));
    match ready.and_then(|()| renameat_with(CWD, aside, CWD, path, RenameFlags::NOREPLACE)) {
        Ok(()) => Ok(socket),
        Err(error) => {
            let _ = std::fs::remove_file(aside);
            Err(error.into())
        }
    }
}

/// Removes the Unix socket at `path` if nobody listens on it any more. Anything else that lies there
/// stays; an error if somebody may be listening, be it that it can't be told.
pub fn remove_dead(path: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    use std::os::unix::fs::FileTypeExt;
    if !std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return Ok(());
    }
    // Without waiting: a listener that stands still may have a full queue.
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags(), None)?;
    match rustix::net::connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path),
        Err(Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error.into()),
    }
}

/// Where a listener ended up: the port that the kernel chose for port 0.
pub fn local_address(socket: impl AsFd) -> io::Result<Option<SocketAddr>> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?).ok())
}

/// Why no connection came out of an accept.
#[derive(Debug)]
pub enum AcceptError {
    /// None is waiting, or the one that was has gone.
    Nothing,
    /// The process or the system has no descriptor or memory left for one.
    Exhausted(io::Error),
    /// Anything else.
    Failed(io::Error),
}

/// Takes one waiting connection; the address is `None` for a Unix socket.
pub fn accept(listener: impl AsFd) -> Result<(OwnedFd, Option<SocketAddr>), AcceptError> {
    use rustix::io::Errno;
    match rustix::net::acceptfrom_with(listener, flags()) {
        Ok((socket, from)) => {
            Ok((socket, from.and_then(|from: SocketAddrAny| SocketAddr::try_from(from).ok())))
        }
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {
            Err(AcceptError::Nothing)
        }
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
            Err(AcceptError::Exhausted(error.into()))
        }
        Err(error) => Err(AcceptError::Failed(error.into())),
    }
}

/// What a connected TCP socket gets: no delay, and probes after `keepalive` seconds of silence
/// (0: none). A refused option costs nothing but the option.
pub fn tune(socket: impl AsFd, keepalive_s: u32) {
    let socket = socket.as_fd();
    let _ = sockopt::set_tcp_nodelay(socket, true);
    if keepalive_s > 0 {
        let _ = sockopt::set_socket_keepalive(socket, true);
        let _ = sockopt::set_tcp_keepidle(socket, Duration::from_secs(keepalive_s.into()));
        let between = Duration::from_secs((keepalive_s / 3).max(1).into());
        let _ = sockopt::set_tcp_keepintvl(socket, between);
        let _ = sockopt::set_tcp_keepcnt(socket, 3);
    }
}

/// What became of a read or a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Blocked,
    /// The connection is over.
    Closed,
}

/// Reads once into `room`.
pub fn read(socket: impl AsFd, room: &mut [u8]) -> Moved {
    moved(rustix::net::recv(socket, room, RecvFlags::empty()).map(|(bytes, _)| bytes))
}

/// Reads once into the spare capacity of `buffer`, which grows by what came.
pub fn read_onto(socket: impl AsFd, buffer: &mut Vec<u8>) -> Moved {
    moved(rustix::io::read(socket, rustix::buffer::spare_capacity(buffer)))
}

/// Writes once.
pub fn write(socket: impl AsFd, bytes: &[u8]) -> Moved {
    moved(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))
}

/// Says that nothing more will be sent.
pub fn shut(socket: impl AsFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

fn moved(result: rustix::io::Result<usize>) -> Moved {
    use rustix::io::Errno;
    match result {
        Ok(0) => Moved::Closed,
        Ok(bytes) => Moved::Bytes(bytes),
        Err(Errno::AGAIN | Errno::INTR) => Moved::Blocked,
        Err(_) => Moved::Closed,
    }
}

fn flags() -> SocketFlags {
    SocketFlags::CLOEXEC | SocketFlags::NONBLOCK
}

fn backlog_of(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_sockets_are_removed() {
        use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        remove_dead(&path).unwrap();

        std::fs::write(&path, "mine").unwrap();
        remove_dead(&path).unwrap();
        assert!(listen_unix(&path, None, 1).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::remove_file(&path).unwrap();

        // One that accepts nobody and whose queue is full lives all the same.
        let live = listen_unix(&path, None, 1).unwrap();
        let crowd: Vec<_> = (0..2).map(|_| UnixStream::connect(&path).unwrap()).collect();
        for _ in 0..2 {
            let error = listen_unix(&path, None, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        assert!(path.exists());
        drop((crowd, live));
        drop(listen_unix(&path, None, 1).unwrap());
        std::fs::remove_file(&path).unwrap();

        let other = UnixDatagram::bind(&path).unwrap();
        assert!(listen_unix(&path, None, 1).is_err());
        assert!(path.exists(), "whose it is can't be told");
        drop(other);

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(listen_unix(&link, None, 1).is_err());
        assert!(link.is_symlink());
        std::fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        remove_dead(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn who_is_on_this_machine() {
        let cases = [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("10.0.0.1:1", false),
            ("0.0.0.0:1", false),
            ("[::ffff:10.0.0.1]:1", false),
            ("[fe80::1]:1", false),
        ];
        for (text, local) in cases {
            let address = Address::Tcp(text.parse().unwrap());
            assert_eq!(address.is_local(), local, "{text}");
            assert_eq!(address.to_string(), text);
        }
        assert!(Address::Unix("/tmp/s".into()).is_local());
    }
}
