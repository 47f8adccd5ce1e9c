"""Rounds of the lost-update harness in one process: requests that meet as a seed says.

The rounds, the model and the judges are those of tools/lost; the application servers are left out.
A request is a coroutine that stops before and after each thing that it asks of the store, and a
player drawn from the seed says who goes on. What always holds: a seed is the same run again, to
the last byte that is sent, but for the versions on memcached, which are moments; a request that
sends a leaf which none of its steps is about is noted, whether or not anybody lost by it.
"""

from __future__ import annotations

import copy
from collections.abc import Coroutine, Generator, Iterable
from random import Random
from typing import Any

from fake_memcached import Server
from lost.judge import judged
from lost.plans import Request, draw
from lost.rounds import History, Sent
from lost.steps import carry_out
from sessile.errors import SessileError
from sessile.faces import AsyncFace
from sessile.memcached import Plans
from sessile.memory import MemoryEngine
from sessile.plans import arun
from sessile.session import Session
from sessile.settings import Settings

__all__ = ["ENGINES", "played"]

BORN = "born"
SETTINGS = Settings(url="memory:", grace=60)
TRIES = 6
"""How often a request is sent, at most."""
PATIENCE = 20
"""Turns for which a client that was refused waits for another cookie."""
BURSTS = (1, 1, 2, 3, 8, 20)
"""How many stops a request goes on for, before others may."""

Running = Coroutine[Any, Any, None]


class Stop:
    """Where a request waits for its turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class MemcachedEngine(AsyncFace):
    """The engine on memcached, with a stop around each request that goes out."""

    def __init__(self) -> None:
        self._plans = Plans()
        self._server = Server()

    async def _run(self, plan: Any) -> Any:
        try:
            ask = next(plan)
            while True:
                await Stop()
                answer = self._server.answer(ask.data)
                await Stop()
                ask = plan.send(answer)
        except StopIteration as done:
            return done.value


class RulesEngine:
    """The rules, with a stop around each operation: so do Redis's scripts and the server."""

    def __init__(self) -> None:
        self._engine = MemoryEngine()

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._engine, name)

        async def stopping(*arguments: Any, **options: Any) -> Any:
            await Stop()
            answer = operation(*arguments, **options)
            await Stop()
            return answer

        return stopping


ENGINES = {"rules": RulesEngine, "memcached": MemcachedEngine}


class Watched(Session):
    """A session that notes what it sends without having been told to."""

    steps: Any = ()

    def __init__(self, strays: list[str], id: str | None) -> None:
        super().__init__(SETTINGS, id)
        self.strays = strays

    def _with(self, changes: Any, beside: Any) -> Any:
        names = [*changes.set, *changes.delete, *changes.delete_trees]
        about = [".".join(step.path) for step in self.steps]
        for name in (name.decode() for name in names):
            if not any(
                f"{name}.".startswith(f"{a}.") or f"{a}.".startswith(f"{name}.") for a in about
            ):
                self.strays.append(f"{name} was sent by {', '.join(about)}")
        return super()._with(changes, beside)


class Shown:
    """A session as a framework hands it out: a dict, and what merges in the store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session.data, name)

    def __getitem__(self, key: str) -> Any:
        return self._session.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._session.data[key] = value

    def __contains__(self, key: str) -> bool:
        return key in self._session.data

    def incr(self, path: Any, by: int) -> None:
        self._session.incr(path, by)

    def push(self, path: Any, entry: Any, trim: int | None) -> None:
        self._session.push(path, entry, trim)

    def init(self, path: Any, value: Any) -> None:
        self._session.init(path, value)


class Player:
    """Plays one round."""

    def __init__(self, engine: Any, seed: str) -> None:
        self.engine = engine
        self.history = History(draw(seed, BORN))
        self.random = Random(seed)
        self.cookie: str | None = None
        self.strays: list[str] = []
        self.moment = 0.0

    def play(self) -> list[str]:
        """What was lost, in words."""
        plan = self.history.round
        self.drive([self.submit(plan.birth, first=True)])
        self.drive(map(self.client, plan.clients))
        self.drive([self.look()])
        return self.strays + judged(self.history, BORN, ours=True).complaints

    def drive(self, running: Iterable[Running]) -> None:
        """Lets them go on in turns until all have ended."""
        left = list(running)
        while left:
            chosen = self.random.choice(left)
            for _ in range(self.random.choice(BURSTS)):
                try:
                    chosen.send(None)
                except StopIteration:
                    left.remove(chosen)
                    break

    async def client(self, requests: list[Request]) -> None:
        for request in requests:
            await self.submit(request)

    async def submit(self, request: Request, *, first: bool = False) -> None:
        """Sends a request until it's done; who is refused waits for the new cookie."""
        for _ in range(TRIES):
            used = self.cookie
            if await self.send(request, first):
                return
            for _ in range(PATIENCE):
                if self.cookie != used:
                    break
                await Stop()
        self.history.given_up += 1

    async def send(self, request: Request, first: bool) -> bool:
        """One request, as a framework's middleware and a view serve it."""
        used, sent = self.cookie, Sent(request, self.now(), status=409)
        session = Watched(self.strays, used)
        try:
            await arun(self.engine, session.load())
            if first or BORN in session.data:
                sent.seen = copy.deepcopy(dict(session.data))
                session.steps = request.steps
                carry_out(Shown(session), request.steps)
                if request.has("rotate"):
                    session.rotate()
                await arun(self.engine, session.finish())
                sent.status = 200
                if session.tells_cookie and used == self.cookie:
                    self.cookie = session.written_id
        except SessileError as error:
            sent.error = str(error)
        sent.loaded = session._loaded.version if session._loaded else None
        sent.saved, sent.ended = session._version, self.now()
        self.history.sent.append(sent)
        return sent.done

    async def look(self) -> None:
        session = Session(SETTINGS, self.cookie)
        await arun(self.engine, session.load())
        self.history.document = session.data

    def now(self) -> float:
        """A moment later than all before."""
        self.moment += 1
        return self.moment


def played(engine: str, seed: str) -> list[str]:
    """What a round lost or sent without need, in words; nothing if all is well."""
    return Player(ENGINES[engine](), seed).play()
