//! Opens every socket that the configuration asks for.

use std::net::ToSocketAddrs;
use std::path::Path;

use crate::config::Config;
use crate::log;
use crate::os::socket::{self, Address};
use crate::service::Dialect;
use crate::workers::acceptor::Listener;

/// The listeners, or what could not be opened and why.
pub fn listen(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    let ports = [(config.port, Dialect::Resp), (config.memcached_port, Dialect::Memcached)];
    for (port, dialect) in ports.into_iter().filter(|(port, _)| *port != 0) {
        let before = listeners.len();
        for bind in &config.bind {
            let opened = tcp(&bind.host, port, dialect, config.tcp_backlog);
            match opened {
                Ok(opened) => listeners.extend(opened),
                Err(error) if bind.optional && error.is_absence() => {
                    log::verbose(format_args!("not listening on {}: {error}", bind.host));
                }
                Err(error) => {
                    return Err(format!("can't listen on {}:{port}: {error}", bind.host));
                }
            }
        }
        if listeners.len() == before && !config.bind.is_empty() {
            return Err(format!("can't listen on port {port} of any address"));
        }
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
struct Failure(std::io::Error);

impl Failure {
    /// Whether this machine has no such address or family, as opposed to a port in use.
    fn is_absence(&self) -> bool {
        use std::io::ErrorKind::{AddrNotAvailable, Unsupported};
        // An address family that the kernel was built without has no kind of its own.
        const EAFNOSUPPORT: i32 = 97;
        matches!(self.0.kind(), AddrNotAvailable | Unsupported)
            || self.0.raw_os_error() == Some(EAFNOSUPPORT)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn tcp(host: &str, port: u16, dialect: Dialect, backlog: u32) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::new();
    for at in (host, port).to_socket_addrs().map_err(Failure)? {
        let socket = socket::listen_tcp(at, backlog).map_err(Failure)?;
        listeners.push(Listener { socket, at: Address::Tcp(at), dialect });
    }
    Ok(listeners)
}
