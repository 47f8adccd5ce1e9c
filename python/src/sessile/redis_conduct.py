"""Which node is asked, how often, and when not to ask at all: a plan's way through the network.

`conduct` drives a plan and yields an `Exchange` at a time: commands for one address. Whoever
moves bytes sends the replies back, or a `Failure`. A `Topology` knows where a key lives:
`Single` one server, `Sentinel` the primary that sentinels name; the cluster's has a module of
its own. What always holds: replicas are never asked; a request is sent at most twice when
connections are lost, and never again after it timed out; all that belongs to one ask, finding
the node and waiting for a connection included, ends within ALLOWANCE timeouts; a node that failed
several times in a row isn't asked for a moment (the breaker), so that an outage costs callers no
time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from sessile.errors import SessionUnavailable
from sessile.redis_ask import Address, Ask, Command, Plan, Refused

__all__ = ["Breaker", "Exchange", "Failure", "Sentinel", "Single", "Topology", "conduct"]

T = TypeVar("T")
FAILURES_MAX = 3
"""Failures in a row after which a node isn't asked for PAUSE seconds."""
PAUSE = 0.5
TURNS_MAX = 4
"""How often a request may be sent on to another node."""
ALLOWANCE = 1.8
"""How many timeouts an ask may take: with the 0.5 s that are usual, an error comes in a second."""


class Exchange(NamedTuple):
    """Commands to send to a node, and as many replies to read."""

    address: Address
    commands: tuple[Command, ...]
    role: str = ""
    """"sentinel" where the node is one: it has its own login."""
    until: float = math.inf
    """The moment of the monotonic clock at which there must be an outcome."""


@dataclass(frozen=True, slots=True)
class Failure:
    """No replies: the connection couldn't be made, broke, or said nothing in time."""

    reason: str
    late: bool = False
    """It said nothing in time: asking again would take as long again."""
    stale: bool = False
    """The connection had been kept from earlier: the node itself may be well."""


class Breaker:
    """Remembers the failures of one node."""

    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0

    def open(self, now: float) -> bool:
        """Whether the node shall be left alone. Each PAUSE one caller may try."""
        if self.failures < FAILURES_MAX:
            return False
        if now < self.until:
            return True
        self.until = now + PAUSE
        return False

    def failed(self, now: float) -> None:
        self.failures += 1
        self.until = now + PAUSE

    def worked(self) -> None:
        self.failures = 0


Steps = Generator[Exchange, "list[Any] | Failure", T]


class Topology(Protocol):
    """Where keys live."""

    def locate(self, key: bytes) -> Address | None:
        """The primary that holds a key; `None` if that must be found out first."""

    def discover(self, until: float) -> Steps[None]:
        """Finds it out until a moment of the monotonic clock."""

    def lost(self, address: Address) -> None:
        """A node didn't answer."""

    def turned(self, ask: Ask, address: Address, refused: Refused) -> Ask | None:
        """What to ask instead, after a node sent a request away; `None` to leave it at that."""

    def breaker(self, address: Address) -> Breaker:
        """The breaker of a node."""


class Breakers:
    """One breaker for each address."""

    def __init__(self) -> None:
        self._breakers: dict[Address, Breaker] = {}

    def breaker(self, address: Address) -> Breaker:
        return self._breakers.setdefault(address, Breaker())


class Single(Breakers):
    """One server at one address."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address

    def locate(self, key: bytes) -> Address | None:
        return self._address

    def discover(self, until: float) -> Steps[None]:
        yield from ()

    def lost(self, address: Address) -> None:
        pass

    def turned(self, ask: Ask, address: Address, refused: Refused) -> Ask | None:
        return None


class Sentinel(Breakers):
    """The primary of a group, as its sentinels tell. The sentinel that led a fail-over knows of
    it up to a second before the others: while one names a primary that was lost, the next is
    asked, and of their answers the one of the latest configuration counts."""

    def __init__(self, sentinels: Sequence[Address], group: str) -> None:
        super().__init__()
        self._sentinels = list(sentinels)
        self._group = group
        self._primary: Address | None = None
        self._lost: Address | None = None
        self._epoch = 0
        """The latest configuration that was heard of."""

    def locate(self, key: bytes) -> Address | None:
        return self._primary

    def discover(self, until: float) -> Steps[None]:
        commands: tuple[Command, ...] = (
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._group),
            ("SENTINEL", "MASTER", self._group),
        )
        best: tuple[int, Address] | None = None
        for sentinel in self._sentinels:
            if self.breaker(sentinel).open(time.monotonic()):
                continue
            outcome = yield Exchange(sentinel, commands, "sentinel", until)
            if isinstance(outcome, Failure):
                self.breaker(sentinel).failed(time.monotonic())
                # A new list, since other threads walk the old one.
                others = [one for one in self._sentinels if one != sentinel]
                self._sentinels = [*others, sentinel]
                continue
            self.breaker(sentinel).worked()
            if not isinstance(outcome[0], list):
                continue
            host, port = outcome[0]
            told = (epoch_of(outcome[1], self._epoch), (host.decode(), int(port)))
            if best is None or told[0] > best[0]:
                best = told
            if told[0] >= self._epoch and told[1] != self._lost:
                break
        if best is None:
            raise SessionUnavailable("no sentinel names the primary")
        self._epoch, self._primary = best

    def lost(self, address: Address) -> None:
        self._lost = address
        if address == self._primary:
            self._primary = None

    def turned(self, ask: Ask, address: Address, refused: Refused) -> Ask | None:
        if refused.code in {"READONLY", "MASTERDOWN"}:
            self.lost(address)
            return ask
        return None


def epoch_of(reply: Any, unknown: int) -> int:
    """Which configuration of its group a sentinel tells of; `unknown` where it doesn't say."""
    if not isinstance(reply, list):
        return unknown
    named = dict(zip(reply[::2], reply[1::2], strict=False))
    return int(named.get(b"config-epoch", unknown))


def conduct(plan: Plan[T], topology: Topology, seconds: float) -> Steps[T]:
    """Drives a plan over a topology; nothing is sent again after `seconds`, the timeout."""
    deadline = time.monotonic() + seconds
    ask = next(plan)
    while True:
        replies = yield from settle(ask, topology, deadline, seconds * ALLOWANCE)
        try:
            ask = plan.send(replies)
        except StopIteration as done:
            result: T = done.value
            return result


def settle(ask: Ask, topology: Topology, deadline: float, allowance: float) -> Steps[list[Any]]:
    """The replies to one ask, within an allowance of seconds; raises SessionUnavailable."""
    lost = turns = 0
    until = time.monotonic() + allowance
    while True:
        address = ask.at or topology.locate(ask.key)
        if address is None:
            yield from topology.discover(until)
            address = topology.locate(ask.key)
            if address is None:
                raise SessionUnavailable("no node serves this part of the keys")
        breaker = topology.breaker(address)
        if breaker.failures and breaker.open(time.monotonic()):
            topology.lost(address)
            raise SessionUnavailable("the store failed several times and isn't asked for a moment")
        commands = ask.commands
        if ask.asking:
            commands = tuple(word for one in commands for word in (("ASKING",), one))
        outcome = yield Exchange(address, commands, "", until)
        if isinstance(outcome, Failure):
            now = time.monotonic()
            topology.lost(address)
            if not outcome.stale:
                breaker.failed(now)
            lost += 1
            if outcome.late or not ask.repeat or lost > 1 or now > deadline:
                raise SessionUnavailable(f"the store can't be reached: {outcome.reason}")
            continue
        if breaker.failures:
            breaker.worked()
        if ask.asking:
            del outcome[::2]
        refused = outcome[0]
        if isinstance(refused, Refused) and turns < TURNS_MAX:
            instead = topology.turned(ask, address, refused)
            if instead is not None:
                ask = instead
                turns += 1
                continue
        return outcome
