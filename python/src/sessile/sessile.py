"""The engine on Sessile's own commands: `sessile://host:port[/database]`, `sessiles://` (TLS),
`unix:///path`.

One request and one reply for each operation: `sessile.sessile_plan` says what they are,
`sessile.pool` moves them. What always holds: nothing is looked up or connected before the first
operation, and everything wrong with a URL is a ConfigurationError that names it.
"""

from __future__ import annotations

import ssl
from typing import Any

from sessile.busy import busy_poll_of
from sessile.errors import ConfigurationError
from sessile.faces import AsyncFace, Face
from sessile.pool import AsyncPool, Pool, Target
from sessile.promises import EVERYWHERE, INDEXED, Promise
from sessile.sessile_plan import Plans, Request, plain
from sessile.urls import Address
from sessile.wire import pack

__all__ = ["AsyncSessileEngine", "SessileEngine", "open_async_engine", "open_engine"]

OPTIONS = {
    "timeout": "seconds to connect, and again to get a reply (0.5)",
    "pool": "connections of one process or event loop, at most (64)",
    "pool_wait": "seconds to wait for a free connection (0.5)",
    "busy_poll": "microseconds to wait for a reply without going to sleep; 0: none (100)",
    "database": "number of the database, as in the path (0)",
    "ca": "file of certificates to trust, for sessiles://",
    "cert": "file of our own certificate, for sessiles://",
    "key": "file of its key, for sessiles://",
}
PORT = 6379
PROMISES = EVERYWHERE | INDEXED | {Promise.OUTAGE, Promise.EVICTION}


class SessileEngine(Face):
    """`sessile.contract.Engine` on a Sessile server."""

    _plans = Plans()

    def __init__(self, pool: Pool, promises: frozenset[Promise] = PROMISES) -> None:
        self._pool = pool
        self.promises = promises

    def _run(self, plan: Request) -> Any:
        return plan.read(self._pool.exchange(plan.data))

    def close(self) -> None:
        self._pool.close()


class AsyncSessileEngine(AsyncFace):
    """`sessile.contract.AsyncEngine` on a Sessile server."""

    _plans = Plans()

    def __init__(self, pool: AsyncPool, promises: frozenset[Promise] = PROMISES) -> None:
        self._pool = pool
        self.promises = promises

    async def _run(self, plan: Request) -> Any:
        return plan.read(await self._pool.exchange(plan.data))

    async def close(self) -> None:
        await self._pool.close()


def target_of(address: Address) -> Target:
    """Where a URL leads. Raises ConfigurationError."""
    address.only(*OPTIONS)
    common: dict[str, Any] = {
        "timeout": address.number("timeout", 0.5, least=0.01),
        "pool": int(address.number("pool", 64, least=1)),
        "pool_wait": address.number("pool_wait", 0.5),
        "busy_poll": busy_poll_of(address),
        "greeting": greeting(address),
        "welcome": plain,
    }
    if address.scheme == "unix":
        if address.netloc or not address.path:
            raise ConfigurationError("unix URL: needs three slashes and a path: unix:///run/sock")
        return Target(path=address.path, **common)
    (host, port), *more = address.hosts(PORT)
    if more:
        raise ConfigurationError(f"{address.scheme} URL: one host is enough")
    return Target(host=host, port=port, tls=tls_of(address), **common)


def greeting(address: Address) -> tuple[bytes, ...]:
    """What a new connection says first."""
    words = []
    if address.password:
        login = [address.username.encode()] if address.username else []
        words.append(pack([b"AUTH", *login, address.password.encode()]))
    if database := database_of(address):
        words.append(pack([b"SELECT", b"%d" % database]))
    return tuple(words)


def database_of(address: Address) -> int:
    """The number of the database: the path, or an option."""
    text = "" if address.scheme == "unix" else address.path.strip("/")
    if not text:
        return int(address.number("database", 0))
    if not (text.isdecimal() and text.isascii()):
        raise ConfigurationError(f"{address.scheme} URL: the path must be a database's number")
    return int(text)


def tls_of(address: Address) -> ssl.SSLContext | None:
    """TLS as the URL wants it. Certificates and names are always checked."""
    options = address.options
    if address.scheme != "sessiles":
        if {"ca", "cert", "key"} & options.keys():
            raise ConfigurationError(f"{address.scheme} URL: certificates are for sessiles://")
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except OSError as error:
        raise ConfigurationError(f"sessiles URL: a certificate can't be used: {error}") from None
    return context


def open_engine(address: Address) -> SessileEngine:
    """The engine at `sessile://...`; no I/O."""
    return SessileEngine(Pool(target_of(address)))


def open_async_engine(address: Address) -> AsyncSessileEngine:
    """The engine at `sessile://...` for asyncio; no I/O."""
    return AsyncSessileEngine(AsyncPool(target_of(address)))
