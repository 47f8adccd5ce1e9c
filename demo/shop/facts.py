"""What the store says about a session: asked with the commands that anyone could type."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from django.http import HttpRequest

from shop import devices

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
    connection, key = devices.client(), devices.store_key(session_key)
    ttl = connection.ttl(key)
    if ttl == -2:
        return None
    masked = mask(session_key)
    shown = key.replace(session_key, masked)
    asked = [
        ("TYPE", connection.type(key).decode()),
        ("TTL", f"{ttl} s"),
        ("STRLEN", f"{connection.strlen(key)} bytes"),
        ("MEMORY USAGE", f"{connection.memory_usage(key)} bytes"),
        ("OBJECT ENCODING", connection.object("encoding", key).decode()),
    ]
    return Facts(
        masked=masked,
        ttl=ttl,
        lifetime=request.session.get_expiry_age(),
        fields=[(name, preview(name, value)) for name, value in request.session.items()],
        commands=[Command(f"{name} {shown}", answer) for name, answer in asked],
        server=server_name(connection),
    )


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
