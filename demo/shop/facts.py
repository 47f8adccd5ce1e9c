"""What the store says about a session: asked with the commands that anyone could type.

Only a store that speaks RESP is asked this way; of another one the page shows Django's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import redis
from django.http import HttpRequest

from sessile.django.config import configured

SECRET_FIELDS = {"_auth_user_hash"}
LONGEST_VALUE = 64


@dataclass(frozen=True)
class Command:
    """One command (key shortened) and the server's answer."""

    text: str
    answer: str


@dataclass(frozen=True)
class Facts:
    """A session seen from both sides. `ttl` and `lifetime` are in seconds."""

    masked: str
    ttl: int
    lifetime: int
    fields: list[tuple[str, str]]
    commands: list[Command]
    server: str


def about(request: HttpRequest) -> Facts | None:
    """The facts of this request's session, or None while it has not been stored."""
    session_key = request.session.session_key
    if not session_key:
        return None
    fields = [(name, preview(name, value)) for name, value in request.session.items()]
    if request.session.session_key is None:
        return None  # what the browser has ended long ago
    lifetime = request.session.get_expiry_age()
    if client() is None:
        return Facts(mask(session_key), lifetime, lifetime, fields, [], "the store")
    connection, key = client(), request.session.store_key
    ttl = connection.ttl(key)
    leaves = [field for field in sorted(connection.hkeys(key)) if not field.startswith(b"\\")]
    asked = [
        ("TYPE", connection.type(key).decode()),
        ("TTL", f"{ttl} s"),
        ("HKEYS", "\n".join(leaf.decode() for leaf in leaves)),
        ("MEMORY USAGE", f"{connection.memory_usage(key)} bytes"),
        ("OBJECT ENCODING", connection.object("encoding", key).decode()),
    ]
    return Facts(
        masked=mask(session_key),
        ttl=ttl,
        lifetime=lifetime,
        fields=fields,
        commands=[Command(f"{name} {shorten(key)}", answer) for name, answer in asked],
        server=server_name(connection),
    )


@lru_cache(maxsize=1)
def client() -> redis.Redis | None:
    """A connection for the commands that the page shows; None if the store speaks no RESP."""
    url = configured().url
    if url.startswith("embedded:"):
        return redis.Redis(unix_socket_path=f"{urlsplit(url).path}/sock")
    scheme, _, rest = url.partition("://")
    speaks_resp = scheme in ("redis", "sessile")
    return redis.Redis.from_url(f"redis://{rest}") if speaks_resp else None


def shorten(key: str) -> str:
    """A key of the store as the page shows it: what it begins with, and a bit of the handle."""
    start, _, handle = key.rpartition(":")
    return f"{start}:{handle[:8]}…"


def mask(session_key: str) -> str:
    """Enough of the key to recognise it, too little to use it."""
    return f"{session_key[:4]}…{session_key[-2:]}"


def preview(name: str, value: object) -> str:
    """A stored value, short, and hidden where it proves who someone is."""
    if name in SECRET_FIELDS:
        return "(hidden)"
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def server_name(connection: redis.Redis) -> str:
    """Which server answers, by its own words."""
    info = connection.info("server")
    if "sessile_version" in info:
        return f"Sessile {info['sessile_version']}"
    return f"Redis {info['redis_version']}"
