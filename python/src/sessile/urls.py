"""Engines by URL: the one setting that says where sessions are kept.

`open_engine` and `open_async_engine` answer an engine and do no I/O: a store that is down is
noticed at the first operation. What always holds: a URL that can't be used raises
ConfigurationError, which says what is wrong with which part of it and never repeats a password;
third-party packages are imported only for the URLs that need them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from sessile.contract import AsyncEngine, Engine
from sessile.errors import ConfigurationError

__all__ = ["SCHEMES", "Address", "open_async_engine", "open_engine"]

SCHEMES = {
    "memory": "sessile.memory",
    "file": "sessile.file",
    "redis": "sessile.redis",
    "rediss": "sessile.redis",
    "valkey": "sessile.redis",
    "valkeys": "sessile.redis",
    "redis+unix": "sessile.redis",
    "valkey+unix": "sessile.redis",
    "redis+sentinel": "sessile.redis",
    "valkey+sentinel": "sessile.redis",
    "redis+cluster": "sessile.redis",
    "valkey+cluster": "sessile.redis",
    "sessile": "sessile.sessile",
    "sessiles": "sessile.sessile",
    "unix": "sessile.sessile",
    "embedded": "sessile.embedded",
    "memcached": "sessile.memcached",
}
"""Scheme to module. A module has `open_engine(address)` and `open_async_engine(address)`."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart. Percent signs are resolved in everything but `netloc`."""

    scheme: str
    netloc: str
    """Hosts with ports, as written, without user and password."""
    path: str
    options: dict[str, str]
    username: str = ""
    password: str = ""

    def hosts(self, port: int) -> list[tuple[str, int]]:
        """The hosts, separated by commas in the URL, with their ports or the usual one."""
        return [one_host(part.strip(), port, self.scheme) for part in self.netloc.split(",")]

    def only(self, *known: str) -> None:
        """Raises ConfigurationError if there is an option that isn't known."""
        for name in self.options:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise ConfigurationError(
                    f"{self.scheme} URL: unknown option {name!r}; there are: {names}"
                )

    def number(self, name: str, default: float, *, least: float = 0) -> float:
        """An option that is a number."""
        text = self.options.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = least - 1
        if not least <= value < float("inf"):
            raise ConfigurationError(
                f"{self.scheme} URL: option {name} must be a number of at least {least}"
            )
        return value


def open_engine(url: str) -> Engine:
    """The engine at a URL; raises ConfigurationError if the URL can't be used."""
    address, module = find(url)
    return cast(Engine, module.open_engine(address))


def open_async_engine(url: str) -> AsyncEngine:
    """The engine at a URL for asyncio; raises ConfigurationError if the URL can't be used."""
    address, module = find(url)
    return cast(AsyncEngine, module.open_async_engine(address))


def find(url: str) -> tuple[Address, Any]:
    """The URL taken apart, and the module that serves it."""
    address = parse(url)
    name = SCHEMES[address.scheme]
    try:
        return address, importlib.import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.startswith("sessile"):
            raise ConfigurationError(
                f"{address.scheme} URL: this version of sessile has no such engine"
            ) from error
        raise ConfigurationError(
            f"{address.scheme} URL: needs the package {error.name}: pip install {error.name}"
        ) from error


def parse(url: str) -> Address:
    """Takes a URL apart; raises ConfigurationError."""
    if not isinstance(url, str) or not url:
        raise ConfigurationError("the URL of the session store is empty")
    scheme, colon, _ = url.partition(":")
    scheme = scheme.lower()
    if not colon:
        raise ConfigurationError("the URL of the session store has no scheme (as redis://...)")
    if scheme not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise ConfigurationError(f"URL scheme {scheme!r} is unknown; there are {known}")
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigurationError(f"{scheme} URL: not a well-formed URL") from None
    if parts.fragment:
        raise ConfigurationError(f"{scheme} URL: has a fragment (a # must be written %23)")
    options = dict(pairs)
    if len(options) != len(pairs):
        raise ConfigurationError(f"{scheme} URL: an option is given twice")
    login, _, netloc = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    return Address(
        scheme=scheme,
        netloc=netloc,
        path=unquote(parts.path),
        options=options,
        username=unquote(username),
        password=unquote(password),
    )


def one_host(text: str, default: int, scheme: str) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]` or `[v6]:port`."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        good = bool(bracket) and (not rest or rest.startswith(":"))
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        good = ":" not in port
    number = int(port) if port.isdecimal() and port.isascii() else 0
    if not good or (port and not 0 < number < 65536):
        raise ConfigurationError(f"{scheme} URL: {text!r} is not host:port")
    return host or "localhost", number or default
