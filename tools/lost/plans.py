"""What the requests of one session are: drawn from a seed, the same again for the same seed.

A round is one session: its first request, then what some clients send at the same time, each one
request after the other, then one last request of each, of which one signs out. Some requests meet:
they wait for each other after loading.
What always holds: values are marks that no other step of the round has; what a client counts up
by reading and assigning is its own; the operations that merge in the store have leaves that no
plain operation assigns; meetings come in the same order for all clients, so that nobody waits for
somebody who waits for him.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from lost.meeting import Meeting
from lost.steps import Step

__all__ = ["CLIENTS", "LENGTH", "PER_ROUND", "Request", "Round", "draw"]

CLIENTS = 5
LENGTH = 8
"""Requests of each client before the last one."""
PER_ROUND = 1 + CLIENTS * (LENGTH + 1)
MEETS = 0.2
"""Part of the slots at which some clients meet; with the last requests, over 20 % of all meet."""
TURNS = 0.5
"""Part of the meetings after which requests go on one by one."""

KINDS = {
    "change": 5,
    "reassign": 4,
    "setdefault": 3,
    "first": 3,
    "delete": 4,
    "empty": 1,
    "scalar": 2,
    "count": 4,
    "incr": 3,
    "push": 3,
    "init": 2,
    "rotate": 1,
}
"""How often each is drawn, by weight."""
BRANCHES: tuple[tuple[str, ...], ...] = (
    (),
    ("notes",),
    ("notes", "deep"),
    ("cart",),
    ("cart", "items"),
    ("prefs",),
    ("prefs", "mail"),
)
DELETED: tuple[tuple[str, ...], ...] = (
    ("cart",),
    ("cart", "items"),
    ("prefs",),
    ("prefs", "mail"),
)
SCALARS: tuple[tuple[str, ...], ...] = (("prefs",), ("prefs", "mail"), ("cart", "items"))
SUMS: tuple[tuple[str, ...], ...] = (
    ("total",),
    ("sums", "all"),
    ("sums", "by", "day"),
    ("cart", "n"),
)
LISTS: tuple[tuple[tuple[str, ...], int | None], ...] = (
    (("seen",), None),
    (("lists", "last"), 5),
    (("lists", "by", "day"), None),
    (("cart", "log"), None),
)
SHARED = 3
"""Names that all clients use."""
STORED = ("incr", "push", "init")


@dataclass(frozen=True)
class Request:
    """What one request is told to do."""

    steps: tuple[Step, ...]
    meeting: Meeting | None = None

    def has(self, op: str) -> bool:
        return any(step.op == op for step in self.steps)


@dataclass(frozen=True)
class Round:
    """All requests of one session: the first one, those of each client, and the last ones."""

    token: str
    birth: Request
    clients: list[list[Request]]
    ending: list[Request]


def draw(seed: str, born: str) -> Round:
    """The round of a seed. `born` is the key that its session has from the beginning."""
    rng = Random(seed)
    drawing = Drawing(rng)
    birth = Request((Step("change", (born,), seed), *drawing.plain("first", 2)))
    meetings = [drawing.meeting(seed, slot) for slot in range(LENGTH)]
    slots = [
        [drawing.request(c, meetings[s].get(c)) for c in range(CLIENTS)] for s in range(LENGTH)
    ]
    signs_out = rng.randrange(CLIENTS)
    everybody = drawing.group(f"{seed}/end", list(range(CLIENTS)))
    ending = [drawing.last(c, everybody[c], c == signs_out) for c in range(CLIENTS)]
    return Round(seed, birth, [[row[c] for row in slots] for c in range(CLIENTS)], ending)


class Drawing:
    """Draws requests, and knows what the ones before have named."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.marks = 0
        self.named: list[tuple[str, ...]] = []

    def meeting(self, seed: str, slot: int) -> dict[int, Meeting]:
        """Who meets at a slot."""
        if self.rng.random() >= MEETS:
            return {}
        count = self.rng.randint(2, CLIENTS)
        return self.group(f"{seed}/{slot}", self.rng.sample(range(CLIENTS), count))

    def group(self, token: str, clients: list[int]) -> dict[int, Meeting]:
        """A meeting of these clients, in some order."""
        self.rng.shuffle(clients)
        turns = self.rng.random() < TURNS
        count = len(clients)
        return {c: Meeting(token, place, count, turns) for place, c in enumerate(clients)}

    def request(self, client: int, meeting: Meeting | None) -> Request:
        kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind in STORED:
            return Request((self.stored(kind),), meeting)
        if kind == "rotate":
            renewing = (Step("rotate"), *self.plain("first", self.rng.randint(0, 2)))
            return Request(renewing, meeting)
        if kind == "count":
            return Request((self.counted(client),), meeting)
        return Request(tuple(self.plain(kind, self.rng.choice((1, 1, 2)))), meeting)

    def last(self, client: int, meeting: Meeting, signs_out: bool) -> Request:
        return Request((Step("end"),), meeting) if signs_out else self.request(client, meeting)

    def stored(self, kind: str) -> Step:
        """A step that merges in the store."""
        if kind == "incr":
            return Step("incr", self.rng.choice(SUMS), self.rng.randint(1, 9))
        if kind == "push":
            path, trim = self.rng.choice(LISTS)
            return Step("push", path, (self.mark(), trim))
        return Step("init", ("inits", self.shared()), self.mark())

    def counted(self, client: int) -> Step:
        """A number of the client's own, at depth 1 to 3."""
        branch = self.rng.choice(((), ("counts",), ("counts", "deep")))
        return Step("count", (*branch, f"n{client}"), 1)

    def plain(self, kind: str, count: int) -> list[Step]:
        """Steps of apps that know nothing of merging: one of a kind, and some more."""
        others = ("change", "reassign", "setdefault", "delete")
        return [self.one(self.rng.choice(others) if at else kind) for at in range(count)]

    def one(self, kind: str) -> Step:
        rng = self.rng
        if kind == "empty":
            return Step("empty", rng.choice(DELETED))
        if kind == "delete":
            known = self.named[-30:]
            if rng.random() < 0.3 or not known:
                return Step("delete", rng.choice(DELETED))
            return Step("delete", rng.choice(known))
        if kind == "scalar":
            return Step("change", rng.choice(SCALARS), self.mark())
        if kind == "first":
            return Step("first", self.name(("cart", "items")), self.mark())
        return Step(kind, self.name(rng.choice(BRANCHES)), self.mark())

    def name(self, branch: tuple[str, ...]) -> tuple[str, ...]:
        """A path below a branch: of its own mostly, sometimes one that others use too."""
        last = self.shared() if self.rng.random() < 0.25 else f"k{len(self.named)}"
        path = (*branch, last)
        self.named.append(path)
        return path

    def shared(self) -> str:
        return f"s{self.rng.randrange(SHARED)}"

    def mark(self) -> Any:
        """A value that no other step has."""
        self.marks += 1
        return f"m{self.marks}"
