//! Opens every socket that the configuration asks for.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::config::Config;
use crate::config::resolved::Bind;
use crate::limits;
use crate::log;
use crate::os::socket::{self, Address};
use crate::service::Dialect;
use crate::workers::acceptor::Listener;

/// The listeners, or what could not be opened and why.
pub fn listen(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    let ports = [(config.port, Dialect::Resp), (config.memcached_port, Dialect::Memcached)];
    for (port, dialect) in ports.into_iter().filter(|(port, _)| *port != 0) {
        let opened = tcp_all(&config.bind, port, config.tcp_backlog, |_| Ok(()))?;
        let listener = |(socket, at)| Listener { socket, at: Address::Tcp(at), dialect };
        listeners.extend(opened.into_iter().map(listener));
    }
    let sockets =
        [(&config.unixsocket, Dialect::Resp), (&config.memcached_unixsocket, Dialect::Memcached)];
    for (path, dialect) in sockets.into_iter().filter(|(path, _)| !path.is_empty()) {
        let mode = (config.unixsocketperm != 0).then_some(config.unixsocketperm);
        let socket = socket::listen_unix(Path::new(path), mode, config.tcp_backlog)
            .map_err(|error| format!("can't listen on {path}: {error}"))?;
        let at = Address::Unix(path.as_str().into());
        listeners.push(Listener { socket, at, dialect });
    }
    if listeners.is_empty() {
        return Err("nothing to listen on: no port and no Unix socket is configured".to_owned());
    }
    Ok(listeners)
}

/// The listeners of the admin page, if there is to be one.
///
/// # Errors
/// A sentence: what could not be opened and why, or that other machines could reach it and nobody
/// has said that they may.
pub fn listen_http(config: &Config) -> Result<Vec<(OwnedFd, SocketAddr)>, String> {
    let backlog = limits::HTTP_CONNECTIONS as u32;
    tcp_all(&config.http_bind, config.http_port, backlog, |at| {
        if config.http_allow_remote || Address::Tcp(at).is_local() {
            return Ok(());
        }
        let ip = at.ip();
        Err(format!(
            "http-bind: {ip} is no loopback address, and the admin page asks for no password; \
             'http-allow-remote yes' allows it where the network itself is trusted"
        ))
    })
}

/// Takes the Unix sockets' names away again, once the listeners are closed. A name that somebody
/// else has taken over stays.
pub fn clean_up(config: &Config) {
    for path in [&config.unixsocket, &config.memcached_unixsocket] {
        if !path.is_empty() {
            let _ = socket::remove_dead(Path::new(path));
        }
    }
}

/// Why a TCP listener could not be opened.
#[derive(Debug)]
enum Failure {
    System(std::io::Error),
    /// By a rule of ours.
    Refused(String),
}

/// Opens a port on each of the addresses that are there; none of it if `may` refuses one.
fn tcp_all(
    binds: &[Bind],
    port: u16,
    backlog: u32,
    may: impl Fn(SocketAddr) -> Result<(), String>,
) -> Result<Vec<(OwnedFd, SocketAddr)>, String> {
    let mut opened = Vec::new();
    for Bind { host, optional } in binds {
        match tcp(host, port, backlog, &may) {
            Ok(more) => opened.extend(more),
            Err(Failure::System(error)) if *optional && is_absence(&error) => {
                log::verbose(format_args!("not listening on {host}: {error}"));
            }
            Err(Failure::System(error)) => {
                return Err(format!("can't listen on {host}:{port}: {error}"));
            }
            Err(Failure::Refused(reason)) => return Err(reason),
        }
    }
    if opened.is_empty() && !binds.is_empty() {
        return Err(format!("can't listen on port {port} of any address"));
    }
    Ok(opened)
}

fn tcp(
    host: &str,
    port: u16,
    backlog: u32,
    may: impl Fn(SocketAddr) -> Result<(), String>,
) -> Result<Vec<(OwnedFd, SocketAddr)>, Failure> {
    let mut opened = Vec::new();
    for at in (host, port).to_socket_addrs().map_err(Failure::System)? {
        may(at).map_err(Failure::Refused)?;
        opened.push((socket::listen_tcp(at, backlog).map_err(Failure::System)?, at));
    }
    Ok(opened)
}

/// Whether this machine has no such address or family, as opposed to a port in use.
fn is_absence(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, Unsupported};
    // An address family that the kernel was built without has no kind of its own.
    const EAFNOSUPPORT: i32 = 97;
    matches!(error.kind(), AddrNotAvailable | Unsupported)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{invocation, load};

    fn config(bind: &str, remote: &str) -> Config {
        let line = format!("--http-port 1 --http-bind {bind} --http-allow-remote {remote}");
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut config = load::load(&invocation(&words).unwrap()).unwrap().config;
        // Any free port: port 0 means "none" only in the settings.
        config.http_port = 0;
        config
    }

    #[test]
    fn the_admin_page_stays_on_this_machine_unless_told_otherwise() {
        for bind in ["0.0.0.0", "::", "127.0.0.1 0.0.0.0", "-::"] {
            let refused = listen_http(&config(bind, "no")).unwrap_err();
            assert!(refused.contains("http-allow-remote"), "{bind}: {refused}");
        }
        assert_eq!(listen_http(&config("127.0.0.1", "no")).unwrap().len(), 1);
        assert_eq!(listen_http(&config("0.0.0.0", "yes")).unwrap().len(), 1);
    }
}
