"""Clients of memcached among the writers: what they ask for, and what must be left of it.

`CacheClient` writes by the text and the meta protocol in turn and keeps, as `model.Client` does,
what the store must hold. What always holds: its keys are its own, in database 0: m are values with
flags and times, n are counters. What was acknowledged here counts as it does for RESP, and is read
back by both protocols: value and time by RESP, flags and CAS value by memcached's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from model import Change, Client, Seen, Step
from wire import ReplyError, Talk

VALUES = 10
COUNTERS = 2
FLAGS = (0, 0, 1, 77, 2**32 - 1)
STALE = 30
"""So many CAS values from before the server started are tried again."""
ANSWERS = {"done": ("STORED", "HD"), "not": ("NOT_STORED", "NS"), "exists": ("EXISTS", "EX")}
ANSWERS |= {"missing": ("NOT_FOUND", "NF"), "deleted": ("DELETED", "HD"), "touched": ("TOUCHED",)}
LETTERS = {"set": "S", "add": "E", "replace": "R", "append": "A", "prepend": "P", "cas": "S"}


def parse(buffer: bytes | bytearray, at: int = 0) -> tuple[object, int] | None:
    """An answer and where it ends: a line, or a line and its data; None if it isn't all there."""
    end = buffer.find(b"\r\n", at)
    if end < 0:
        return None
    line, at = bytes(buffer[at:end]).decode(), end + 2
    word, *rest = line.split(" ")
    if word in ("ERROR", "CLIENT_ERROR", "SERVER_ERROR"):
        return ReplyError(line), at
    if word not in ("VA", "VALUE"):
        return line, at
    size = int(rest[0 if word == "VA" else 2])
    after = at + size + (2 if word == "VA" else len("\r\nEND\r\n"))
    return ((line, bytes(buffer[at : at + size])), after) if len(buffer) >= after else None


def answers(*which: str) -> Callable[[list[object]], bool]:
    """Whether the answer is one of these, in either protocol."""
    right = {line for name in which for line in ANSWERS[name]}
    return lambda replies: replies[0] in right


class CacheClient(Client):
    """The keys of one writer who speaks to memcached's port."""

    port = "cache"
    greeted = "MN"
    parse = staticmethod(parse)

    def __init__(self, number: int, rng: random.Random) -> None:
        super().__init__(number, rng)
        self.db = 0
        self.known: dict[str, tuple[int, bytes]] = {}
        """CAS values that were read, each with the value that it was of."""
        self.stale: list[tuple[str, int]] = []
        """Those that were read in an earlier life of the server."""

    def greeting(self) -> bytes:
        return b"mn\r\n"

    def users(self) -> list[str]:
        return []

    def settle(self, seen: Seen) -> int:
        # Versions are never used twice, but those that a client has set are kept.
        self.stale += [(key, cas) for key, (cas, _) in self.known.items()]
        del self.stale[:-STALE]
        self.known.clear()
        return super().settle(seen)

    def _key(self) -> str:
        return f"m:{self.number}:{self.rng.randrange(VALUES)}"

    def _is_gone(self, key: str) -> bool:
        """Whether it's surely not there."""
        return self.now.get(key) is None

    def _there(self) -> str | None:
        """One of the values that are surely there."""
        found = [key for key in self.now if key[0] == "m" and self._is_surely(key)]
        return self.rng.choice(found) if found else None

    def _due(self) -> tuple[int, int]:
        """An exptime, and the deadline that it means."""
        if self.rng.randrange(3):
            return 0, -1
        seconds = int(time.time()) + self.rng.choice((1, 2, 3, 10_000, 1_000_000))
        return seconds, seconds * 1000

    def _request(
        self, verb: str, key: str, value: bytes, flags: int = 0, exptime: int = 0, **more: int
    ) -> bytes:
        """Stores, by either protocol: `compare` and `cas` are CAS values, `quiet` wants no
        answer."""
        compare, cas, quiet = more.get("compare"), more.get("cas"), more.get("quiet")
        if cas is not None or self.rng.randrange(2):
            line = f"ms {key} {len(value)} M{LETTERS[verb]} T{exptime} F{flags}"
            line += "" if compare is None else f" C{compare}"
            line += "" if cas is None else f" E{cas}"
            line += " q" if quiet else ""
        else:
            line = f"{verb} {key} {flags} {exptime} {len(value)}"
            line += "" if compare is None else f" {compare}"
            line += " noreply" if quiet else ""
        return b"%b\r\n%b\r\n" % (line.encode(), value)

    def _set(self) -> Step:
        key, flags = self._key(), self.rng.choice(FLAGS)
        value, (exptime, due) = self._value(key), self._due()
        cas = self.rng.randrange(1, 2**60) if self.rng.randrange(4) == 0 else None
        changes: list[Change] = [(key, ("string", value, due, flags, cas))]
        more = {} if cas is None else {"cas": cas}
        request = self._request("set", key, value, flags, exptime, **more)
        return Step([request], changes, answers("done"))

    def _set_quietly(self) -> Step:
        """Whoever hears the answer to what comes next knows that it's done."""
        key, flags = self._key(), self.rng.choice(FLAGS)
        value = self._value(key)
        request = self._request("set", key, value, flags, quiet=1)
        changes: list[Change] = [(key, ("string", value, -1, flags, None))]
        return Step([request, b"mn\r\n"], changes, lambda replies: replies == ["MN"], silent=1)

    def _add(self) -> Step | None:
        key, flags = self._key(), self.rng.choice(FLAGS)
        value, (exptime, due) = self._value(key), self._due()
        request = self._request("add", key, value, flags, exptime)
        if self._is_gone(key):
            return Step([request], [(key, ("string", value, due, flags, None))], answers("done"))
        return Step([request], [], answers("not")) if self._is_surely(key) else None

    def _replace(self) -> Step | None:
        key, flags = self._key(), self.rng.choice(FLAGS)
        value, (exptime, due) = self._value(key), self._due()
        request = self._request("replace", key, value, flags, exptime)
        if self._is_surely(key):
            return Step([request], [(key, ("string", value, due, flags, None))], answers("done"))
        return Step([request], [], answers("not")) if self._is_gone(key) else None

    def _join(self) -> Step | None:
        """append, prepend."""
        key = self._there()
        if key is None:
            return None
        _, value, due, flags, _ = self.now[key]
        verb = self.rng.choice(("append", "prepend"))
        value = value + b"+" if verb == "append" else b"-" + value
        changes: list[Change] = [(key, ("string", value, due, flags, None))]
        more = b"+" if verb == "append" else b"-"
        return Step([self._request(verb, key, more)], changes, answers("done"))

    def _read(self) -> Step | None:
        """gets: the CAS value is known then."""
        key = self._there()
        if key is None:
            return None
        _, value, _, flags, cas = self.now[key]

        def right(replies: list[object]) -> bool:
            if not isinstance(replies[0], tuple):
                return False
            line, data = replies[0]
            words = line.split(" ")
            # VALUE key flags size cas, or VA size f... c...
            found = words[2::2] if words[0] == "VALUE" else [word[1:] for word in words[2:]]
            if data != value or int(found[0]) != flags or cas not in (None, int(found[1])):
                return False
            self.known[key] = (int(found[1]), value)
            return True

        request = self.rng.choice((f"gets {key}\r\n", f"mg {key} v f c\r\n"))
        return Step([request.encode()], [], right)

    def _compare(self) -> Step | None:
        """cas, with a CAS value that was read or set before: it fits unless the value changed."""
        key = self._there()
        if key is None:
            return None
        value, flags = self._value(key), self.rng.choice(FLAGS)
        _, old, _, _, cas = self.now[key]
        fits = cas is not None
        if cas is None:
            if key not in self.known:
                return None
            cas, of = self.known[key]
            fits = of is old
        elif self.rng.randrange(4) == 0:
            cas, fits = cas + 1, False
        request = self._request("cas", key, value, flags, compare=cas)
        if not fits:
            return Step([request], [], answers("exists"))
        return Step([request], [(key, ("string", value, -1, flags, None))], answers("done"))

    def _compare_too_late(self) -> Step | None:
        """What was read before the server was killed fits nothing."""
        if not self.stale:
            return None
        key, cas = self.rng.choice(self.stale)
        if self._is_gone(key):
            right = answers("missing")
        elif self._is_surely(key) and self.now[key][4] is None:
            right = answers("exists")
        else:
            return None
        return Step([self._request("cas", key, b"late", compare=cas)], [], right)

    def _count(self) -> Step:
        """incr, decr. A number that gets shorter keeps its width."""
        key = f"n:{self.number}:{self.rng.randrange(COUNTERS)}"
        by, down = self.rng.choice((1, 7, 300)), self.rng.randrange(2)
        if self._is_gone(key):
            changes: list[Change] = [(key, ("string", b"100", -1, 0, None))]
            if self.rng.randrange(2):
                return Step([self._request("add", key, b"100")], changes, answers("done"))
            request = f"ma {key} N0 J100 D{by} v\r\n".encode()
            return Step([request], changes, lambda replies: replies == [("VA 3", b"100")])
        old = self.now[key][1]
        number = max(0, int(old) - by) if down else int(old) + by
        value = str(number).encode().ljust(len(old))
        request = f"ma {key} D{by} M{'D' if down else 'I'} v\r\n"
        if self.rng.randrange(2):
            request = f"{'decr' if down else 'incr'} {key} {by}\r\n"
        text = str(number)
        right = lambda replies: replies[0] in (text, (f"VA {len(text)}", text.encode()))  # noqa: E731
        changes = [(key, ("string", value, -1, self.now[key][3], None))]
        return Step([request.encode()], changes, right)

    def _touch(self) -> Step | None:
        key = self._there()
        if key is None:
            return None
        _, value, _, flags, cas = self.now[key]
        exptime, due = self._due()
        changes: list[Change] = [(key, ("string", value, due, flags, cas))]
        lines = (f"touch {key} {exptime}", f"gat {exptime} {key}", f"mg {key} T{exptime}")
        which = self.rng.randrange(len(lines))
        read = (f"VALUE {key} {flags} {len(value)}", value)
        right = lambda replies: replies == [("TOUCHED", read, "HD")[which]]  # noqa: E731
        return Step([f"{lines[which]}\r\n".encode()], changes, right)

    def _delete(self) -> Step:
        key = self._key() if self.rng.randrange(6) else f"n:{self.number}:0"
        if self._is_surely(key):
            right, quietly = answers("deleted"), self.rng.randrange(5) == 0
        elif self._is_gone(key):
            right, quietly = answers("missing"), False
        else:
            right, quietly = answers("deleted", "missing"), False
        if quietly:
            commands = [f"delete {key} noreply\r\n".encode(), b"mn\r\n"]
            return Step(commands, [(key, None)], lambda replies: replies == ["MN"], silent=1)
        request = self.rng.choice((f"delete {key}\r\n", f"md {key}\r\n")).encode()
        return Step([request], [(key, None)], right)

    KINDS = (
        _set,
        _set_quietly,
        _add,
        _replace,
        _join,
        _read,
        _compare,
        _compare_too_late,
        _count,
        _touch,
        _delete,
    )
    WEIGHTS = (8, 2, 5, 4, 4, 5, 5, 1, 6, 4, 5)


def mixed(count: int, rng: random.Random) -> list[Client]:
    """So many clients, two in five of memcached's."""
    kinds = (Client, CacheClient, Client, CacheClient, Client)
    return [kinds[n % 5](n, random.Random(rng.random())) for n in range(count)]


def read_beside(talk: Talk, seen: Seen) -> None:
    """Adds what memcached's port tells of the strings that RESP has told of."""
    keys = [key for key in seen.values if key[0] in "mn"]
    lines = talk.ask_raw([f"mg {key} f c\r\n".encode() for key in keys])
    for key, line in zip(keys, lines, strict=True):
        if line == "EN":
            # It isn't there, or has ended in this moment.
            seen.values[key] = (None, -2, None, None)
            continue
        _, flags, cas = str(line).split(" ")
        seen.values[key] = (*seen.values[key], int(flags[1:]), int(cas[1:]))
    seen.ended_ms = int(time.time() * 1000)
