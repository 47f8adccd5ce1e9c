"""The settings of sessions, with one set of names for every framework.

`Settings` holds what `sessile.session` must know: where sessions are kept, how ids look, how long
a session lives, and how the framework tells the user and the expiry of a document. `read` makes
one from a framework's configuration. What always holds: a setting that can't be used raises
ConfigurationError, which names it; nothing here does I/O, and engines are opened once a process.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from sessile.contract import AsyncEngine, Engine
from sessile.document import Codec
from sessile.errors import ConfigurationError
from sessile.ids import DJANGO, Shape
from sessile.telemetry import async_observed, observed
from sessile.urls import open_async_engine, open_engine

__all__ = ["NAMES", "Expiry", "Settings", "read"]

IDLE_DEBUG = 900
"""Seconds without any client after which a private server ends while an app is developed."""

NAMES: Final = {
    "SESSILE_URL": "where sessions are kept",
    "SESSILE_NAMESPACE": "what separates this app's sessions and users from another's",
    "SESSILE_ID_KEYS": "keys that ids are hashed with, the newest first",
    "SESSILE_ENCRYPTION_KEYS": "keys that values are encrypted with, the newest first",
    "SESSILE_MAX_AGE": "seconds after sign-in at which a session ends, used or not",
    "SESSILE_SLIDE": "whether reading counts as use",
    "SESSILE_ATOMIC": "patterns of paths that are stored in one piece",
    "SESSILE_STRICT": "whether two writers of one session conflict",
    "SESSILE_GRACE": "seconds for which a renewed id still works for its own user",
    "SESSILE_LIMIT": "how many sessions a user may have",
    "SESSILE_SIZE_MAX": "bytes that a session may hold",
    "SESSILE_READ_OUTAGE": "what a read does in an outage: error or anonymous",
    "SESSILE_SOURCE": "where sessions were kept before, while moving in",
    "SESSILE_MOVING": "how they move in: move, mirror or shadow",
}
SIZE_MAX: Final = 1024 * 1024
NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a document says that its session ends. Both `None`: when the settings say."""

    idle: int | None = None
    """Seconds without use; 0 for no limit."""
    at: int | None = None
    """A moment, Unix milliseconds, instead of any idle timeout."""


def nobody(document: Mapping[Any, Any]) -> str:
    """The user of sessions in a framework that knows no users."""
    return ""


def until_closed(document: Mapping[Any, Any]) -> int:
    """The age of a cookie that ends with the browser."""
    return 0


def as_set(document: Mapping[Any, Any]) -> Expiry:
    """The expiry of a document that says nothing of it."""
    return Expiry()


@dataclass(frozen=True)
class Settings:
    """What one app wants of its sessions."""

    url: str
    namespace: str = "app"
    idle: int = 14 * 86400
    """Seconds without use after which a session ends; 0 for never."""
    maximum: int = 0
    """Seconds after creation or rotation at which it ends, used or not; 0 for never."""
    shape: Shape = DJANGO
    """What ids look like."""
    id_keys: tuple[bytes, ...] = field(default=(), repr=False)
    encryption_keys: tuple[bytes | None, ...] = field(default=(), repr=False)
    """Newest first; `None` stands for values that aren't encrypted."""
    slide: bool = False
    cookie_age: Callable[[Mapping[Any, Any]], int] = until_closed
    """For how many seconds a browser keeps the cookie of a document; 0 until it's closed."""
    reads_renew: bool = True
    """With sliding, whether a request that only reads may set the cookie again, and note that: a
    write. Where reads never write the framework sets it with each of them once it's due."""
    atomic: tuple[str, ...] = ()
    strict: bool = False
    grace: int = 0
    limit: int | None = None
    size_max: int = SIZE_MAX
    outage: Literal["error", "anonymous"] = "error"
    user_of: Callable[[Mapping[Any, Any]], str] = nobody
    """Whose session a document is; empty for nobody's. Part of the user's name in the store."""
    expiry_of: Callable[[Mapping[Any, Any]], Expiry] = as_set
    moving: Any = None
    """A `sessile.moving.Moving`, as long as sessions come from elsewhere."""

    @cached_property
    def prefix(self) -> bytes:
        """What the keys of this app's sessions begin with."""
        return b"sessile:" + self.namespace.encode() + b":"

    @cached_property
    def clustered(self) -> bool:
        """Whether keys must say which node of a cluster they belong to."""
        return "+cluster" in self.url.partition(":")[0]

    @cached_property
    def codec(self) -> Codec:
        """How documents become leaves."""
        return Codec(atomic=self.atomic, size_max=self.size_max or None)

    def user(self, name: str) -> str:
        """The name of an app's user in the store; empty for nobody."""
        return f"{self.namespace}:{name}" if name else ""

    def engine(self) -> Engine:
        """The engine of this URL, one for the whole process; it encrypts if there are keys."""
        engine: Engine = opened(self.url, open_engine, ENGINES)
        if self.encryption_keys:
            from sessile.sealed import sealed

            engine = sealed(engine, self.encryption_keys, self.namespace)
        return observed(engine, self.url)

    def async_engine(self) -> AsyncEngine:
        """The asyncio engine of this URL, one for the whole process; it encrypts as well."""
        if self.url.partition(":")[0] == "memory":
            engine: AsyncEngine = in_process(self.url)
        else:
            engine = opened(self.url, open_async_engine, ASYNC_ENGINES)
        if self.encryption_keys:
            from sessile.sealed import async_sealed

            engine = async_sealed(engine, self.encryption_keys, self.namespace)
        return async_observed(engine, self.url)


def read(
    get: Callable[[str], Any],
    *,
    home: str | os.PathLike[str] | None = None,
    debug: bool = False,
    **others: Any,
) -> Settings:
    """Settings from what `get` answers for each of NAMES, `None` where nothing is set.

    SESSILE_URL may also stand in the environment. `home` is the app's folder, in which
    `embedded:` without a folder keeps its server; with `debug` that ends when nobody has used it
    for IDLE_DEBUG seconds. `others` are fields that the framework has
    settings of its own for.
    """
    url = get("SESSILE_URL") or os.environ.get("SESSILE_URL") or "embedded:"
    name = namespace(get("SESSILE_NAMESPACE"))
    return Settings(
        url=at_home(url, home, debug=debug),
        namespace=name,
        id_keys=id_keys(get("SESSILE_ID_KEYS")),
        encryption_keys=encryption_keys(get("SESSILE_ENCRYPTION_KEYS"), name),
        maximum=number("SESSILE_MAX_AGE", get("SESSILE_MAX_AGE"), 0),
        slide=flag("SESSILE_SLIDE", get("SESSILE_SLIDE")),
        atomic=tuple(texts("SESSILE_ATOMIC", get("SESSILE_ATOMIC"))),
        strict=flag("SESSILE_STRICT", get("SESSILE_STRICT")),
        grace=number("SESSILE_GRACE", get("SESSILE_GRACE"), 0),
        limit=number("SESSILE_LIMIT", get("SESSILE_LIMIT"), 0) or None,
        size_max=number("SESSILE_SIZE_MAX", get("SESSILE_SIZE_MAX"), SIZE_MAX),
        outage=outage(get("SESSILE_READ_OUTAGE")),
        **others,
    )


def at_home(url: str, home: str | os.PathLike[str] | None, *, debug: bool) -> str:
    """The URL; `embedded:` without a folder gets one in the app's own."""
    place, question, options = url.partition("?") if isinstance(url, str) else ("", "", "")
    if place != "embedded:" or home is None:
        return url
    folder = str(Path(home).absolute() / ".sessile")
    if debug and not question:
        question, options = "?", f"idle={IDLE_DEBUG}"
    return f"embedded:{quote(folder)}{question}{options}"


def namespace(value: Any) -> str:
    if value is None:
        return "app"
    if not isinstance(value, str) or not NAMESPACE.fullmatch(value):
        raise ConfigurationError(
            "SESSILE_NAMESPACE must be 1 to 64 letters, digits, dots, dashes or underscores"
        )
    return value


def id_keys(value: Any) -> tuple[bytes, ...]:
    keys = tuple(
        key.encode() if isinstance(key, str) else key
        for key in ([value] if isinstance(value, str | bytes) else value or ())
    )
    if not all(isinstance(key, bytes) and len(key) >= 16 for key in keys):
        raise ConfigurationError("SESSILE_ID_KEYS: each key must have at least 16 bytes")
    return keys


def encryption_keys(value: Any, namespace: str) -> tuple[bytes | None, ...]:
    """The keys; the package that encrypts is imported only if there are any."""
    given = [value] if isinstance(value, str | bytes) else value or ()
    keys = tuple(key.encode() if isinstance(key, str) else key for key in given)
    if not any(key is not None for key in keys):
        return ()
    from sessile.encryption import KEY_LEAST, ring_of

    if not all(key is None or (isinstance(key, bytes) and len(key) >= KEY_LEAST) for key in keys):
        raise ConfigurationError(
            f"SESSILE_ENCRYPTION_KEYS: each key must have at least {KEY_LEAST} bytes"
        )
    ring_of(keys, namespace)
    return keys


def number(name: str, value: Any, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"{name} must be a whole number, 0 or more")
    return value


def flag(name: str, value: Any) -> bool:
    if value not in (None, True, False):
        raise ConfigurationError(f"{name} must be True or False")
    return bool(value)


def texts(name: str, value: Any) -> Iterable[str]:
    values = [value] if isinstance(value, str) else list(value or ())
    if not all(isinstance(one, str) for one in values):
        raise ConfigurationError(f"{name} must be a list of patterns")
    return values


def outage(value: Any) -> Literal["error", "anonymous"]:
    if value in (None, "error"):
        return "error"
    if value == "anonymous":
        return "anonymous"
    raise ConfigurationError("SESSILE_READ_OUTAGE must be 'error' or 'anonymous'")


LOCK = threading.Lock()
ENGINES: dict[str, Any] = {}
ASYNC_ENGINES: dict[str, Any] = {}


def opened(url: str, opener: Callable[[str], Any], there: dict[str, Any]) -> Any:
    """The engine that this process has for a URL. Engines see to forks and loops themselves."""
    engine = there.get(url)
    if engine is None:
        with LOCK:
            engine = there.get(url)
            if engine is None:
                engine = there[url] = opener(url)
    return engine


def in_process(url: str) -> Any:
    """The asyncio face of a store that lives in this process: both must be one store."""
    from sessile.ruled import Async

    engine = opened(url, open_engine, ENGINES)
    return opened(url, lambda _: Async(engine, waits=False), ASYNC_ENGINES)
