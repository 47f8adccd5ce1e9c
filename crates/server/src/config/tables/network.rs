//! Directives about sockets, connections and who may connect.

use crate::config::kind::Kind;
use crate::config::row::Row;

const PORT: Kind = Kind::Number { min: 0, max: 65_535 };
const SECONDS: Kind = Kind::Number { min: 0, max: i32::MAX as i64 };
const DEBUG: Kind = Kind::Choice(&["no", "yes", "local"]);

pub(super) const ROWS: &[Row] = &[
    Row::start("port", PORT, "6379", "TCP port for RESP; 0 for none."),
    Row::start("memcached-port", PORT, "11211", "TCP port for memcached clients; 0 for none."),
    Row::start(
        "bind",
        Kind::Words,
        "127.0.0.1 -::1",
        "Addresses to listen on; '*' for all of IPv4, '::*' for all of IPv6; a '-' before one \
         that may be missing.",
    ),
    Row::start("unixsocket", Kind::Path, "", "Path of a Unix socket for RESP."),
    Row::start(
        "memcached-unixsocket",
        Kind::Path,
        "",
        "Path of a Unix socket for memcached clients.",
    ),
    Row::start(
        "unixsocketperm",
        Kind::Octal,
        "0",
        "Permissions of the Unix sockets, in octal; 0 leaves them to the umask.",
    ),
    Row::start("tcp-backlog", Kind::Number { min: 1, max: 65_535 }, "511", {
        "Connections that may wait to be accepted."
    }),
    Row::live("tcp-keepalive", SECONDS, "300", "Seconds of silence before TCP probes; 0: none."),
    Row::live("timeout", SECONDS, "0", "Seconds after which an idle client is closed; 0: never."),
    Row::live("maxclients", Kind::Number { min: 1, max: 1_000_000 }, "10000", {
        "Clients at a time."
    }),
    Row::live(
        "protected-mode",
        Kind::Bool,
        "yes",
        "Serve only this machine while no password is set.",
    ),
    Row::live(
        "requirepass",
        Kind::Text,
        "",
        "The password that clients have to give; empty: none.",
    ),
    Row::start(
        "rename-command",
        Kind::Pairs,
        "",
        "Gives a command another name, or none at all (\"\").",
    ),
    Row::start("enable-debug-command", DEBUG, "no", "Whether DEBUG may be used, and from where."),
    Row::start(
        "enable-protected-configs",
        DEBUG,
        "no",
        "Whether CONFIG SET may change dir and dbfilename, and from where.",
    ),
    Row::start("enable-module-command", DEBUG, "no", "There are no modules.")
        .barred("there are no modules"),
    Row::start("aclfile", Kind::Text, "", "Not in this version.")
        .barred("users beyond requirepass are not in this version"),
    Row::start("tls-port", PORT, "0", "Not in this version.").barred("TLS is not in this version"),
    Row::start(
        "http-port",
        PORT,
        "0",
        "TCP port of the admin page, /metrics and /healthz; 0 for none.",
    ),
    Row::start("http-bind", Kind::Words, "127.0.0.1 -::1", {
        "Addresses of the admin page, as for bind. It asks for no password."
    }),
    Row::start("http-allow-remote", Kind::Bool, "no", {
        "Whether http-bind may name an address that other machines reach."
    }),
    Row::start("http-hosts", Kind::Words, "", {
        "Names by which browsers may ask for the admin page, besides localhost and addresses."
    }),
    Row::live(
        "client-query-buffer-limit",
        Kind::Memory { min: 1 << 20, max: 1 << 40 },
        "1gb",
        "Bytes of requests that one client may have waiting.",
    ),
    Row::live(
        "client-output-buffer-limit",
        Kind::Outputs,
        "normal 1gb 256mb 60 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
        "Per class: bytes of unread replies that close a client at once, and those that close it \
         after so many seconds; 0: no limit.",
    ),
    Row::live(
        "maxmemory-clients",
        Kind::Share,
        "0",
        "Bytes that all clients' buffers may hold together, or a share of maxmemory; 0: half of \
         arena-max, at least 1gb.",
    ),
    Row::live(
        "proto-max-bulk-len",
        Kind::Memory { min: 1 << 20, max: 512 << 20 },
        "512mb",
        "Bytes of one argument of a request.",
    ),
];
