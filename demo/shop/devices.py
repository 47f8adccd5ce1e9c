"""Which sessions a user has: one hash per user in the store, one field per session.

The field's name is a short handle made from the session key, its value says what the list
shows. The field gets the session's own time to live (HPEXPIRE) where the server knows field
deadlines; where it doesn't, fields whose session is gone are dropped on reading. The list is a
convenience of the demo: a session is valid because its key exists, not because it stands here.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from django.contrib.sessions.backends.cache import KEY_PREFIX
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse

REFRESH_SECONDS = 15
AGENTS = ("Firefox", "Edg", "OPR", "Chrome", "Safari", "curl", "Python")
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "Linux")


@dataclass(frozen=True)
class Device:
    """One signed-in session as the list shows it. `ttl` is in seconds."""

    handle: str
    session_key: str
    agent: str
    started: float
    seen: float
    ttl: int
    current: bool

    @property
    def idle(self) -> int:
        """Whole seconds since the session was last used."""
        return max(0, int(time.time() - self.seen))


class Remember:
    """Middleware: notes who uses which session, at most every REFRESH_SECONDS per session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path.startswith("/static/") or not request.user.is_authenticated:
            return response
        if request.session.session_key:
            remember(request)
        return response


def client() -> redis.Redis:
    """The connection that Django's cache uses, for the commands that a cache doesn't have."""
    return caches["default"]._cache.get_client(write=True)


def store_key(session_key: str) -> str:
    """Under which key Django keeps this session in the store."""
    return caches["default"].make_key(KEY_PREFIX + session_key)


def handle(session_key: str) -> str:
    """A name for a session that can be shown and sent without giving the session away."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:16]


def index_key(username: str) -> str:
    """The hash that lists a user's sessions."""
    return f"shop:devices:{username}"


def remember(request: HttpRequest) -> None:
    """Writes this session's field, unless it was written a moment ago."""
    key, name = index_key(request.user.get_username()), handle(request.session.session_key)
    connection = client()
    known = connection.hget(key, name)
    row = json.loads(known) if known else {"started": time.time(), "seen": 0}
    if time.time() - row["seen"] < REFRESH_SECONDS:
        return
    row |= {
        "seen": time.time(),
        "session_key": request.session.session_key,
        "agent": agent(request.headers.get("User-Agent", "")),
    }
    lifetime = request.session.get_expiry_age()
    connection.hset(key, name, json.dumps(row))
    try:
        connection.hexpire(key, lifetime, name)
    except redis.ResponseError as error:
        if "unknown command" not in str(error):
            raise
    connection.expire(key, lifetime)


def listed(request: HttpRequest) -> list[Device]:
    """The user's live sessions, this one first, then the last used."""
    key, connection = index_key(request.user.get_username()), client()
    devices = []
    for name, value in connection.hgetall(key).items():
        row = json.loads(value)
        ttl = connection.ttl(store_key(row["session_key"]))
        if ttl < 0:
            connection.hdel(key, name)
            continue
        current = row["session_key"] == request.session.session_key
        devices.append(Device(name.decode(), ttl=ttl, current=current, **row))
    return sorted(devices, key=lambda device: (not device.current, -device.seen))


def end(request: HttpRequest, chosen: Callable[[Device], bool]) -> int:
    """Ends the chosen ones of the user's sessions; returns how many."""
    doomed = [device for device in listed(request) if chosen(device)]
    connection = client()
    for device in doomed:
        connection.delete(store_key(device.session_key))
        connection.hdel(index_key(request.user.get_username()), device.handle)
    return len(doomed)


def forget(username: str, session_key: str) -> None:
    """Takes a session that has ended off its user's list."""
    client().hdel(index_key(username), handle(session_key))


def agent(header: str) -> str:
    """A browser and a system, as far as the header tells."""
    browser = next((name for name in AGENTS if name in header), "Unknown browser")
    system = next((name for name in SYSTEMS if name in header), "")
    names = {"Edg": "Edge", "OPR": "Opera", "Macintosh": "macOS"}
    browser, system = names.get(browser, browser), names.get(system, system)
    return f"{browser} on {system}" if system else browser
