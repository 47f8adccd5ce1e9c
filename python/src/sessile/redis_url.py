"""Settings of the Redis engines, from the URL.

    redis://[user:password@]host[:port][/database][?options]     one server
    rediss://...                                                 the same over TLS
    redis+unix:///path/to.sock[?database=0]                      a server's socket
    redis+sentinel://host[:port],host.../group[/database]        the primary that sentinels name
    redis+cluster://host[:port],host...                          a cluster

`valkey` stands for `redis` everywhere. Options are those of OPTIONS. What always holds: nothing
is looked up or connected here, and everything wrong is a ConfigurationError that names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sessile.busy import busy_poll_of
from sessile.errors import ConfigurationError
from sessile.promises import EVERYWHERE, INDEXED, Promise
from sessile.redis_ask import Address as Node
from sessile.redis_cluster import Cluster, ClusterPlans
from sessile.redis_conduct import Sentinel, Single, Topology
from sessile.redis_plan import Plans, ServerClock, Shape
from sessile.urls import Address

__all__ = ["OPTIONS", "Settings", "settings"]

OPTIONS = {
    "timeout": "seconds to connect, and again to get a reply (0.5)",
    "pool": "connections of one process or event loop to one node, at most (64)",
    "pool_wait": "seconds to wait for a free connection (0.5)",
    "busy_poll": "microseconds to wait for a reply without going to sleep; 0: none (100)",
    "wait": "replicas that must confirm the end or rotation of a session (0)",
    "users": "what the keys of users' indexes begin with (sessile:user:)",
    "database": "number of the database, as in the path (0)",
    "tls": "1 for TLS to sentinels' and clusters' nodes",
    "ca": "file of certificates to trust, for TLS",
    "cert": "file of our own certificate, for TLS",
    "key": "file of its key, for TLS",
    "sentinel_username": "login of the sentinels",
    "sentinel_password": "login of the sentinels",
}
PROMISES = EVERYWHERE | INDEXED | {Promise.OUTAGE, Promise.EVICTION}
PORT, SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True, slots=True)
class Settings:
    """What a URL says."""

    kind: str
    """`single`, `unix`, `sentinel` or `cluster`."""
    nodes: tuple[Node, ...]
    timeout: float
    pool: int
    pool_wait: float
    busy_poll: int
    shape: Shape
    group: str = ""
    database: int = 0
    login: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel_login: dict[str, Any] = field(default_factory=dict, repr=False)
    tls: dict[str, Any] | None = None
    """Arguments of redis-py's SSLConnection; `None` without TLS."""

    def plans(self, clock: ServerClock) -> Plans:
        kind = ClusterPlans if self.kind == "cluster" else Plans
        return kind(self.shape, clock)

    def promises(self) -> frozenset[Promise]:
        """What the engine promises on servers of this kind."""
        follows = self.kind in {"sentinel", "cluster"}
        return PROMISES | ({Promise.FAILOVER} if follows else set())

    def topology(self) -> Topology:
        if self.kind == "sentinel":
            return Sentinel(self.nodes, self.group)
        if self.kind == "cluster":
            return Cluster(self.nodes)
        return Single(self.nodes[0])

    def arguments(self, address: Node, role: str) -> dict[str, Any]:
        """What redis-py's connection to a node is made with."""
        timeouts = {"socket_timeout": self.timeout, "socket_connect_timeout": self.timeout}
        common = {**timeouts, "protocol": 2}
        if role == "sentinel":
            login: dict[str, Any] = self.sentinel_login
        else:
            login = {**self.login, "db": self.database}
        if self.kind == "unix":
            return {**common, **login, "path": address[0]}
        tcp = {"host": address[0], "port": address[1], "socket_keepalive": True}
        return {**common, **login, **tcp, **(self.tls or {})}


def settings(address: Address) -> Settings:
    """Reads a URL; raises ConfigurationError."""
    address.only(*OPTIONS)
    scheme = address.scheme.replace("valkey", "redis")
    kind = {"redis": "single", "rediss": "single"}.get(scheme) or scheme.partition("+")[2]
    group, database = path_of(address, kind)
    nodes = address.hosts(SENTINEL_PORT if kind == "sentinel" else PORT)
    if kind == "unix":
        nodes = [(address.path, 0)]
    if kind == "single" and len(nodes) > 1:
        raise ConfigurationError(f"{address.scheme} URL: one host only; see redis+cluster://")
    login = {"username": address.username or None, "password": address.password or None}
    options = address.options
    guard = {
        "username": options.get("sentinel_username"),
        "password": options.get("sentinel_password"),
    }
    timeout = address.number("timeout", 0.5, least=0.01)
    replicas = int(address.number("wait", 0))
    prefix = options.get("users", "sessile:user:").encode()
    if not prefix:
        raise ConfigurationError(f"{address.scheme} URL: option users must not be empty")
    return Settings(
        kind=kind,
        nodes=tuple(nodes),
        timeout=timeout,
        pool=int(address.number("pool", 64, least=1)),
        pool_wait=address.number("pool_wait", 0.5),
        busy_poll=busy_poll_of(address),
        shape=Shape(prefix, replicas, int(timeout * 800)),
        group=group,
        database=database,
        login={name: value for name, value in login.items() if value},
        sentinel_login={name: value for name, value in guard.items() if value},
        tls=tls_of(address, scheme),
    )


def path_of(address: Address, kind: str) -> tuple[str, int]:
    """Group of the sentinels and number of the database."""
    if kind == "unix":
        if not address.path.startswith("/") or address.netloc:
            raise ConfigurationError(f"{address.scheme} URL: needs the socket's path after ///")
        return "", int(address.number("database", 0))
    parts = address.path.strip("/").split("/") if address.path.strip("/") else []
    group = ""
    if kind == "sentinel":
        if not parts:
            raise ConfigurationError(f"{address.scheme} URL: needs the group's name as its path")
        group = parts.pop(0)
    if kind == "cluster" and parts:
        raise ConfigurationError(f"{address.scheme} URL: a cluster has no databases")
    if len(parts) > 1 or (parts and not (parts[0].isdecimal() and parts[0].isascii())):
        raise ConfigurationError(f"{address.scheme} URL: the path must be a database's number")
    return group, int(parts[0]) if parts else int(address.number("database", 0))


def tls_of(address: Address, scheme: str) -> dict[str, Any] | None:
    """Arguments for TLS. Certificates and names are always checked."""
    options = address.options
    files = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
    given = {files[name]: options[name] for name in files if name in options}
    if scheme in {"rediss", "rediss+sentinel", "rediss+cluster"} or options.get("tls") == "1":
        return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **given}
    if given:
        raise ConfigurationError(f"{address.scheme} URL: certificates are for rediss://")
    return None
