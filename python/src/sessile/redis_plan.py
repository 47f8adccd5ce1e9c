"""What is said to Redis for each operation, and what its answers mean; nobody here moves bytes.

A plan is a generator: it yields an `Ask` (commands for the node that holds a key), is sent their
replies, and returns the operation's answer. `sessile.redis` drives it, with sockets or with
asyncio. What always holds: one operation is one ask, unless a script has to be sent first, a
cluster keeps the user's index on another node, or scripts are forbidden; what may be sent twice
does the same as if sent once.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from sessile import redis_scripts as scripts
from sessile import redis_watch as watch
from sessile import rules
from sessile.contract import ROTATED, Changes, Life, Listed, Loaded, Rotated
from sessile.errors import (
    NotSupported,
    SessionUnavailable,
)
from sessile.redis_ask import Ask, Command, Plan, Refused, failure
from sessile.wire import paired

__all__ = ["Plans", "Reindex", "ServerClock", "Shape"]

LOG = logging.getLogger("sessile.redis")
T = TypeVar("T")
Word: TypeAlias = "bytes | str | int"


@dataclass(frozen=True, slots=True)
class Shape:
    """What plans must know of the store and of the settings."""

    prefix: bytes = b"sessile:user:"
    """What the keys of users' indexes begin with."""
    replicas: int = 0
    """How many replicas must have heard of an END, ENDALL or ROTATE before it is answered."""
    patience: int = 400
    """How long they may take, in milliseconds."""


class ServerClock:
    """The server's clock, as each new connection tells it; between them, ours that never steps."""

    asked = False
    """Whether a server was asked yet; until then it's the machine's, which may be wrong."""

    def __init__(self) -> None:
        self._ahead = time.time() * 1000 - time.monotonic() * 1000

    def now(self) -> int:
        """Unix milliseconds."""
        return int(self._ahead + time.monotonic() * 1000)

    def learn(self, told: Any) -> None:
        """Takes the reply to TIME; anything else is no news."""
        self.asked = True
        if isinstance(told, list):
            self._ahead = int(told[0]) * 1000 + int(told[1]) / 1000 - time.monotonic() * 1000


class Reindex(Exception):
    """A script found another user than was indexed; the text is the server's."""


class Plans:
    """The plans for one server, or one primary at a time: all keys within reach of a script."""

    def __init__(self, shape: Shape, clock: ServerClock) -> None:
        self.shape = shape
        self.clock = clock
        self.within = shape.prefix
        """The prefix of the indexes that scripts can reach; empty if they reach none."""
        self.forbidden = False
        """Whether the server refused scripts; then optimistic transactions do their work."""

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        user: str | None,
        limit: int | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        once = token or new_token()
        reply = yield from self.script(
            scripts.CREATE,
            [key],
            create_words(self.within, fields, life, user, limit, once),
            lambda view: rules.create(view, key, fields, life, user, limit, once),
        )
        return version_of(reply)

    def load(self, key: bytes, slide: bool) -> Plan[Loaded | Rotated | None]:
        if not slide:
            # A plain command costs the server a tenth of what a script does.
            flat = (yield Ask((("HGETALL", key),), key))[0]
            if isinstance(flat, Refused):
                if flat.code == "WRONGTYPE":
                    return None
                raise failure(flat)
            found = paired(flat)
            if watch.TARGET not in found:
                return watch.loaded(found, self.clock.now())
        reply = yield from self.script(
            scripts.LOAD,
            [key],
            [self.within, b"1" if slide else b"0"],
            lambda view: rules.load(view, key, slide),
        )
        if isinstance(reply, list):
            return loaded(reply)
        return ROTATED if reply == b"ROTATED" else reply

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        once = token or token_for(changes, expected)
        reply = yield from self.script(
            scripts.SAVE,
            [key],
            save_words(self.within, changes, life, expected, user, once),
            lambda view: rules.save(view, key, changes, life, expected, user, once),
        )
        return version_of(reply)

    def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        expected: int | None,
        user: str | None,
        limit: int | None,
        grace: int,
        hard: bool,
        create: Mapping[bytes, bytes] | None,
        token: bytes | None,
    ) -> Plan[int | None]:
        once = token or new_token()
        words = rotate_words(
            self.within, changes, life, expected, user, limit, grace, hard, create, once, None
        )
        reply = yield from self.script(
            scripts.ROTATE,
            [key, new_key],
            words,
            lambda view: rules.rotate(
                view,
                key,
                new_key,
                changes,
                life,
                expected=expected,
                user=user,
                limit=limit,
                grace=grace,
                hard=hard,
                fallback=create,
                token=once,
            ),
            confirm=True,
        )
        return version_of(reply)

    def end(self, keys: Sequence[bytes], held: Any) -> Plan[int]:
        reply = yield from self.script(
            scripts.END,
            keys,
            [self.within],
            lambda view: rules.end(view, keys),
            confirm=True,
        )
        return int(reply[0] if isinstance(reply, list) else reply)

    def touch(self, key: bytes) -> Plan[bool]:
        reply = yield from self.script(
            scripts.TOUCH, [key], [self.within], lambda view: rules.touch(view, key)
        )
        return bool(reply)

    def sessions_of(self, user: str, names: Sequence[bytes]) -> Plan[list[Listed]]:
        reply = yield from self.script(
            scripts.LIST,
            [],
            [self.within, user.encode(), *names],
            lambda view: rules.sessions_of(view, user, names),
            home=self.index(user),
        )
        return [row if isinstance(row, Listed) else listed(row, names) for row in reply]

    def end_all(self, user: str, keep: bytes | None) -> Plan[int]:
        reply = yield from self.script(
            scripts.END_ALL,
            [],
            [self.within, user.encode(), keep or b""],
            lambda view: rules.end_all(view, user, keep),
            home=self.index(user),
            confirm=True,
        )
        return int(reply)

    def exists(self, key: bytes) -> Plan[bool]:
        answer = yield from self.load(key, False)
        return isinstance(answer, Loaded)

    def ping(self) -> Plan[None]:
        reply = (yield Ask((("PING",),), b""))[0]
        if isinstance(reply, Refused):
            raise failure(reply)

    def index(self, user: str) -> bytes:
        """The key of a user's index."""
        return self.shape.prefix + user.encode()

    def script(
        self,
        script: scripts.Script,
        keys: Sequence[bytes],
        args: Sequence[Word],
        instead: Callable[[rules.View], Any] | None,
        *,
        home: bytes = b"",
        confirm: bool = False,
    ) -> Plan[Any]:
        """Runs a script, sending its text if the server hasn't got it; or does `instead`, if
        there is such a thing and scripts are forbidden. `confirm` waits for replicas, if the
        settings say so.
        """
        home = home or keys[0]
        if not self.forbidden:
            rest = (len(keys), *keys, *args)
            after: tuple[Command, ...] = ()
            if confirm and self.shape.replicas:
                after = (("WAIT", self.shape.replicas, self.shape.patience),)
            replies = yield Ask((("EVALSHA", script.digest, *rest), *after), home)
            if isinstance(replies[0], Refused) and replies[0].code == "NOSCRIPT":
                replies = yield Ask((("EVAL", script.text, *rest), *after), home)
            if not (isinstance(replies[0], Refused) and replies[0].forbids_scripts):
                return self.judged(replies, bool(after))
            if instead is None:
                raise NotSupported("a cluster of Redis without the right to run scripts")
            self.forbidden = True
            LOG.warning(
                "the server allows no scripts (%s): each write takes several round trips instead",
                replies[0].code,
            )
        assert instead is not None
        answer = yield from watch.transact(self.shape.prefix, home, instead)
        if confirm and self.shape.replicas:
            wait: Command = ("WAIT", self.shape.replicas, self.shape.patience)
            self.judged([None, *(yield Ask((wait,), home))], True)
        return answer

    def judged(self, replies: list[Any], confirmed: bool) -> Any:
        """The reply of a script, or the exception that it stands for."""
        for reply in replies:
            if isinstance(reply, Refused):
                if reply.code == "USER":
                    raise Reindex(reply.text)
                raise failure(reply)
        if confirmed and replies[-1] < self.shape.replicas:
            raise SessionUnavailable("done, but not confirmed by enough replicas in time")
        return replies[0]


def version_of(reply: Any) -> int | None:
    """The script of ROTATE answers the version with the user before, all else the version alone."""
    version: int | None = reply[0] if isinstance(reply, list) else reply
    return version


def loaded(reply: list[Any]) -> Loaded | Rotated | None:
    """The answer of LOAD."""
    now, flat = reply
    return watch.loaded(paired(flat), now)


def listed(row: list[Any], names: Sequence[bytes]) -> Listed:
    """One row of LIST."""
    key, created, seen, values = row
    fields = {n: v for n, v in zip(names, values, strict=True) if v is not None}
    return Listed(key=key, created=created, last_seen=seen, fields=fields)


def new_token() -> bytes:
    """What tells one request from all others of the last minute."""
    return secrets.token_bytes(8)


def token_for(changes: Changes, expected: int | None) -> bytes | None:
    """A token for a patch that must not be merged twice; others may be."""
    if expected is not None or changes.increment or changes.push:
        return new_token()
    return None


def create_words(
    prefix: bytes,
    fields: Mapping[bytes, bytes],
    life: Life,
    user: str | None,
    limit: int | None,
    token: bytes,
) -> list[Word]:
    """The arguments of CREATE."""
    return [
        prefix,
        *life_words(life),
        user_word(user or None),
        b"" if limit is None else limit,
        token.hex(),
        *pairs(fields),
    ]


def save_words(
    prefix: bytes,
    changes: Changes,
    life: Life,
    expected: int | None,
    user: str | None,
    token: bytes | None,
    indexed: bytes = b"",
) -> list[Word]:
    """The arguments of SAVE. `indexed`: the key that a cluster's engine has indexed."""
    return [
        prefix,
        *life_words(life),
        user_word(user),
        token.hex() if token else b"",
        b"" if expected is None else expected,
        indexed,
        *patch(changes),
    ]


def rotate_words(
    prefix: bytes,
    changes: Changes,
    life: Life,
    expected: int | None,
    user: str | None,
    limit: int | None,
    grace: int,
    hard: bool,
    fallback: Mapping[bytes, bytes] | None,
    token: bytes,
    assumed: str | None,
) -> list[Word]:
    """The arguments of ROTATE."""
    return [
        prefix,
        *life_words(life),
        user_word(user),
        token.hex(),
        b"" if expected is None else expected,
        b"" if limit is None else limit,
        grace,
        b"1" if hard else b"0",
        user_word(assumed),
        *([b"0"] if fallback is None else [b"1", *pairs(fallback)]),
        *patch(changes),
    ]


def life_words(life: Life) -> tuple[bytes | int, bytes | int, bytes | int]:
    idle, maximum, ends = (
        b"" if word is None else word for word in (life.idle, life.maximum, life.expires_at)
    )
    return idle, maximum, ends


def user_word(user: str | None) -> bytes:
    return b"" if user is None else b"=" + user.encode()


def pairs(fields: Mapping[bytes, bytes]) -> list[Word]:
    """A list of names and values, with its length before it."""
    words: list[Word] = [len(fields)]
    for pair in fields.items():
        words += pair
    return words


def patch(changes: Changes) -> list[Word]:
    """The patch as the scripts read it."""
    words: list[Word] = [len(changes.delete_trees), *changes.delete_trees]
    words += [len(changes.delete), *changes.delete]
    words += pairs(changes.set)
    words += pairs(changes.init)
    words.append(len(changes.increment))
    for name, by in changes.increment.items():
        words += [name, repr(by)]
    words.append(len(changes.push))
    for push in changes.push:
        words += [push.name, push.value, b"" if push.trim is None else push.trim]
    return words
