"""What the settings of Flask-Session say to us: where sessions are kept, and how ids look.

docs/flask.md has the whole list. What always holds: a store that they name is found or refused
with ConfigurationError, and never replaced by another in silence; a setting that has no effect
here is named in a warning; nothing is connected to; no password is in any message.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from sessile.errors import ConfigurationError
from sessile.ids import URL_SAFE, Shape
from sessile.urls import one_host

__all__ = ["shape_of", "url_of", "warn"]

LOG = logging.getLogger("sessile")
WITHOUT_EFFECT = {
    "SESSION_USE_SIGNER": "ids are random and long, and not signed",
    "SESSION_SERIALIZATION_FORMAT": "values are kept as tagged JSON",
    "SESSION_CLEANUP_N_REQUESTS": "stores end sessions by themselves",
}
"""Setting to why it has none, if it's set to anything."""
FILES = {"ssl_ca_certs": "ca", "ssl_certfile": "cert", "ssl_keyfile": "key"}
"""redis-py's names of files for TLS, and those of our URLs."""
SAY = "set SESSILE_URL instead"


def url_of(config: Mapping[str, Any]) -> str | None:
    """Where Flask-Session kept its sessions, as one of our URLs; `None` if it doesn't say.

    What the environment says comes first. Raises ConfigurationError if it's said in a way that no
    URL can repeat.
    """
    if os.environ.get("SESSILE_URL"):
        return None
    kind = str(config.get("SESSION_TYPE") or "null").lower()
    if kind == "redis":
        return redis_url(config.get("SESSION_REDIS"))
    if kind == "memcached":
        return memcached_url(config.get("SESSION_MEMCACHED"))
    if kind != "null":
        LOG.warning("SESSION_TYPE=%r of Flask-Session has no counterpart; set SESSILE_URL", kind)
    return None


def shape_of(config: Mapping[str, Any]) -> Shape:
    """What ids look like: SESSION_ID_LENGTH counts random bytes, four characters for three.

    Ids of the usual length stay good: it had no effect once, and may be set later.
    """
    count = config.get("SESSION_ID_LENGTH")
    if count is None:
        return URL_SAFE
    try:
        return Shape(URL_SAFE.alphabet, (int(count) * 4 + 2) // 3, URL_SAFE.length)
    except (ConfigurationError, TypeError, ValueError):
        LOG.warning(
            "SESSION_ID_LENGTH=%r of Flask-Session is not from 19 to 47: ids have %d characters",
            count,
            URL_SAFE.length,
        )
        return URL_SAFE


def warn(config: Mapping[str, Any]) -> None:
    """Names the settings that have no effect."""
    for name, why in WITHOUT_EFFECT.items():
        if config.get(name):
            LOG.warning("%s of Flask-Session has no effect: %s", name, why)


def redis_url(client: Any) -> str:
    """The URL of what a client of redis-py is connected to."""
    if client is None:
        return "redis://localhost:6379/0"  # as Flask-Session has it
    pool = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", None)
    if options is None:
        raise ConfigurationError(
            f"SESSION_REDIS: {type(client).__name__} isn't understood; {SAY} "
            "(redis+cluster://... for a cluster)"
        )
    if options.get("credential_provider") is not None:
        raise ConfigurationError(f"SESSION_REDIS: its credential_provider is no password; {SAY}")
    secure = "SSL" in getattr(getattr(pool, "connection_class", None), "__name__", "")
    more = {ours: options[name] for name, ours in FILES.items() if options.get(name)}
    if secure and options.get("ssl_cert_reqs", "required") not in ("required", ssl.CERT_REQUIRED):
        LOG.warning("SESSION_REDIS doesn't check certificates; here they are always checked")
    login, database = login_of(options), int(options.get("db") or 0)
    if options.get("path"):
        more = {"database": str(database)} if database else {}
        return f"redis+unix://{login}{quote(options['path'])}{tail(more)}"
    if hasattr(pool, "sentinel_manager"):
        return sentinel_url(pool, f"{login}{{}}/{{}}/{database}", {**more, "tls": str(int(secure))})
    scheme = "rediss" if secure else "redis"
    place = host_of(options.get("host") or "localhost", options.get("port") or 6379)
    return f"{scheme}://{login}{place}/{database}{tail(more if secure else {})}"


def sentinel_url(pool: Any, form: str, more: dict[str, str]) -> str:
    """The URL of the primary that sentinels name."""
    guards = [one.connection_pool for one in pool.sentinel_manager.sentinels]
    options = guards[0].connection_kwargs
    if ("SSL" in guards[0].connection_class.__name__) != (more["tls"] == "1"):
        raise ConfigurationError(f"SESSION_REDIS: TLS to all of them or to none; {SAY}")
    for name in ("username", "password"):
        if options.get(name):
            more[f"sentinel_{name}"] = options[name]
    if more["tls"] == "0":
        more = {name: value for name, value in more.items() if name.startswith("sentinel_")}
    kwargs = [guard.connection_kwargs for guard in guards]
    hosts = ",".join(host_of(one["host"], one.get("port") or 26379) for one in kwargs)
    return f"redis+sentinel://{form.format(hosts, quote(pool.service_name, safe=''))}{tail(more)}"


def memcached_url(client: Any) -> str:
    """The URL of the servers that a client of pymemcache, pylibmc or python-memcached has."""
    servers = ["localhost"] if client is None else list(servers_of(client))
    if not servers or any("/" in str(server) for server in servers):  # sockets, for one
        raise ConfigurationError(
            f"SESSION_MEMCACHED: the servers of {type(client).__name__} aren't understood; {SAY}"
        )
    pairs = [one_host(one, 11211, "memcached") if isinstance(one, str) else one for one in servers]
    return f"memcached://{','.join(host_of(*pair) for pair in pairs)}"


def servers_of(client: Any) -> Iterator[Any]:
    """Its servers, as text or as host and port."""
    if hasattr(client, "_client"):  # pymemcache's RetryingClient
        yield from servers_of(client._client)
    elif hasattr(client, "clients"):  # pymemcache's HashClient
        for one in client.clients.values():
            yield one.server
    elif hasattr(client, "server"):  # pymemcache's others
        yield client.server
    elif hasattr(client, "addresses"):  # pylibmc
        yield from client.addresses
    else:
        for one in getattr(client, "servers", ()):  # python-memcached
            yield (one.ip, one.port) if hasattr(one, "ip") else one


def login_of(options: Mapping[str, Any]) -> str:
    """The login in front of a URL's host."""
    user, password = (text_of(options.get(name)) for name in ("username", "password"))
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def text_of(word: Any) -> str | bytes:
    """A part of a login, which redis-py takes as a number, too; empty if there is none."""
    if word is None:
        return ""
    return word if isinstance(word, bytes) else str(word)


def host_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tail(options: Mapping[str, str]) -> str:
    """The options of a URL."""
    return f"?{urlencode(options)}" if options else ""
