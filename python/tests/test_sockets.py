"""The session of a WebSocket, in Starlette and Quart, on redis-server and on our own.

Loaded at the handshake, written when asked and when the browser leaves, looked for again and
again, the socket closed with 4401 when it has ended; what doesn't keep it alive, and where a
cookie can travel. Messages are looked at as an ASGI server would get them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from counted import Counted, counted
from sessile import quart as ours_for_quart
from sessile import settings as package
from sessile.plans import run
from sessile.session import Session
from sessile.settings import Settings
from sessile.starlette import SessionMiddleware
from sessile.urls import open_engine
from stores import World

USER = "_user_id"


async def starlette_talk(socket: Any) -> None:
    if socket.url.query:
        socket.session["early"] = socket.url.query
    await socket.accept()
    while True:
        word = await socket.receive_text()
        await said(word, socket.session)
        await socket.send_text(json.dumps(dict(socket.session)))


async def quart_talk() -> None:
    from quart import session, websocket

    if websocket.query_string:
        session["early"] = websocket.query_string.decode()
    await websocket.accept()
    while True:
        word = await websocket.receive()
        await said(str(word), session)
        await websocket.send(json.dumps(dict(session)))


async def said(word: str, session: Any) -> None:
    """What a word does to the session."""
    if word == "fail":
        session["lost"] = True
        raise RuntimeError("a view that fails")
    if word != "hello":
        session["word"] = word
    if word == "save":
        await session.save()


def starlette(url: str) -> tuple[Any, Settings]:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import WebSocketRoute

    options: Any = {"url": url, "dev": True, "user_key": USER, "slide": True, "recheck": 0.01}
    routes = [WebSocketRoute("/talk", starlette_talk)]
    app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, **options)])
    return app, SessionMiddleware(app, **options).settings


def quart(url: str) -> tuple[Any, Settings]:
    from quart import Quart

    app = Quart(__name__)
    ours_for_quart.Sessile(app, url=url, recheck=0.01)
    app.websocket("/talk")(quart_talk)
    interface: Any = app.session_interface
    return app, interface.settings


@dataclass
class Site:
    """An app, its store behind a proxy, and a way to look into the store beside it."""

    framework: str
    app: Any
    settings: Settings
    store: Counted
    engine: Any
    seen: list[str] = field(default_factory=list)

    def session(self) -> Session:
        """A session of `ann`, in the store."""
        state = Session(self.settings)
        state.data.update({USER: "ann", "fruit": "pear"})
        run(self.engine, state.save())
        return state

    def stored(self, state: Session) -> dict[Any, Any]:
        """What the store has of it."""
        again = Session(self.settings, state.id)
        run(self.engine, again.load())
        return again.data

    def asked(self) -> list[str]:
        """All that the app has asked the store."""
        self.seen += self.store.take()
        return self.seen

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            await asyncio.wait_for(test(), 60)
            await self.settings.async_engine().close()

        asyncio.run(whole())


@pytest.fixture(params=["starlette", "quart"])
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["redis", "sessile"])
def site(request: pytest.FixtureRequest, framework: str, world: World) -> Iterator[Site]:
    name = request.param
    with counted(name, world) as store:
        app, settings = {"starlette": starlette, "quart": quart}[framework](store.url)
        beside = open_engine(world.url(name, "timeout=20"))
        yield Site(framework, app, settings, store, beside)
        beside.close()
    package.ASYNC_ENGINES.pop(store.url, None)


class Socket:
    """A browser's end of a WebSocket."""

    def __init__(self, site: Site, id: str | None, query: str = "") -> None:
        self.sent: list[dict[str, Any]] = []
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        headers = [(b"host", b"localhost")]
        headers += [(b"cookie", f"session={id}".encode())] if id else []
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/talk",
            "raw_path": b"/talk",
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "subprotocols": [],
        }
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(site.app(scope, self._incoming.get, self._take))

    async def _take(self, message: Any) -> None:
        self.sent.append(message)
        self._news.set()

    async def heard(self, kind: str) -> dict[str, Any]:
        """The first message of a kind, which is taken away."""
        while True:
            for message in self.sent:
                if message["type"] == f"websocket.{kind}":
                    self.sent.remove(message)
                    return message
            self._news.clear()
            await self._news.wait()

    async def say(self, word: str) -> dict[Any, Any]:
        """Says something; what the session is then."""
        self._incoming.put_nowait({"type": "websocket.receive", "text": word})
        answer = await self.heard("send")
        return dict(json.loads(answer["text"]))

    async def fail(self) -> None:
        """Makes the view fail."""
        self._incoming.put_nowait({"type": "websocket.receive", "text": "fail"})
        await asyncio.gather(self.task, return_exceptions=True)

    async def leave(self) -> None:
        """Closes the window. What the app raises then is the server's to log."""
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.gather(self.task, return_exceptions=True)


def cookies(messages: list[dict[str, Any]]) -> list[str]:
    """The Set-Cookie headers of messages."""
    lines = [line for message in messages for line in message.get("headers", [])]
    return [value.decode() for name, value in lines if name.lower() == b"set-cookie"]


def test_what_changed_is_there_when_the_browser_has_left(site: Site) -> None:
    async def test() -> None:
        state = site.session()
        socket = Socket(site, state.id)
        assert (await socket.say("plum"))["fruit"] == "pear"
        assert "word" not in site.stored(state), "it's written at the end"
        await socket.leave()
        assert site.stored(state) == {USER: "ann", "fruit": "pear", "word": "plum"}

    site.run(test)


def test_what_changed_is_there_when_the_view_says_so(site: Site) -> None:
    async def test() -> None:
        state = site.session()
        socket = Socket(site, state.id)
        await socket.say("save")
        assert site.stored(state)["word"] == "save"
        await socket.leave()

    site.run(test)


def test_a_view_that_fails_writes_nothing(site: Site) -> None:
    async def test() -> None:
        state = site.session()
        socket = Socket(site, state.id)
        await socket.say("plum")
        await socket.fail()
        assert site.stored(state) == {USER: "ann", "fruit": "pear"}

    site.run(test)


def test_an_open_socket_does_not_keep_its_session_alive(site: Site, world: World) -> None:
    async def test() -> None:
        state = site.session()
        socket = Socket(site, state.id)
        await socket.say("hello")
        ends = when_it_ends(site, state, world)
        before = len(site.asked())
        while len(site.asked()) < before + 5:
            await socket.say("hello")
            await asyncio.sleep(0.01)
        assert when_it_ends(site, state, world) == ends
        await socket.leave()
        assert when_it_ends(site, state, world) == ends, "nothing changed"

    site.run(test)


def when_it_ends(site: Site, state: Session, world: World) -> int:
    """The moment that the store has for it, in milliseconds."""
    import redis

    ours = site.store.url.startswith("sessile")
    port = world.sessile().port if ours else world.redis().port
    with redis.Redis(port=port) as client:
        ends = client.execute_command("PEXPIRETIME", state.keys[0])
    assert ends > 0
    return int(ends)


def test_a_socket_is_closed_when_its_session_ends(site: Site, framework: str) -> None:
    async def test() -> None:
        for end in (
            lambda state: site.engine.end(state.keys[0]),
            lambda state: site.engine.end_all("app:ann"),
        ):
            state = site.session()
            socket = Socket(site, state.id)
            await socket.say("plum")
            assert end(state) >= 1
            closed = await socket.heard("close")
            assert (closed["code"], closed["reason"]) == (4401, "signed out")
            await socket.leave()
            assert [one["type"] for one in socket.sent] == ["websocket.accept"]
            assert site.stored(state) == {}, "and what it still had to write revives nothing"

    site.run(test)


def test_an_outage_closes_no_socket_and_the_end_is_still_seen(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        (proxy,) = site.store.proxies
        state = site.session()
        socket = Socket(site, state.id)
        await socket.say("plum")
        proxy.refuse = True
        proxy.cut()
        while caplog.text.count("was not looked for") < 3:
            await asyncio.sleep(0.01)
        assert (await socket.say("hello"))["word"] == "plum", "it goes on meanwhile"
        assert not socket.task.done()
        proxy.refuse = False
        site.engine.end(state.keys[0])
        assert (await socket.heard("close"))["code"] == 4401
        await socket.leave()

    caplog.set_level(logging.WARNING, "sessile")
    site.run(test)


def test_what_can_not_be_written_at_the_end_is_told_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        (proxy,) = site.store.proxies
        state = site.session()
        socket = Socket(site, state.id)
        await socket.say("plum")
        proxy.refuse = True
        proxy.cut()
        await socket.leave()
        assert "the session of a WebSocket was not written" in caplog.text
        assert site.stored(state) == {USER: "ann", "fruit": "pear"}

    caplog.set_level(logging.WARNING, "sessile")
    site.run(test)


def test_a_cookie_travels_with_the_handshake_only(site: Site, framework: str) -> None:
    async def test() -> None:
        for query in ("", "early"):
            socket = Socket(site, None, query)
            accept = await socket.heard("accept")
            if query and framework == "starlette":
                (cookie,) = cookies([accept])
                id = cookie.partition(";")[0].partition("=")[2]
                assert site.stored(Session(site.settings, id)) == {"early": "early"}
            else:
                assert cookies([accept]) == []
            await socket.say("plum")
            await socket.leave()
            assert cookies(socket.sent) == []
        written = [name for name in site.asked() if name not in ("HGETALL", "SESSION.LOAD")]
        # Quart's handshake is the app's: a session that nobody would know isn't made.
        assert len(written) == (2 if framework == "starlette" else 0), written

    site.run(test)


def test_a_known_session_needs_no_new_cookie(site: Site) -> None:
    async def test() -> None:
        state = site.session()
        socket = Socket(site, state.id)
        await socket.say("plum")
        await socket.leave()
        assert socket.sent and cookies(socket.sent) == []

    site.run(test)


def test_it_is_looked_for_every_half_minute() -> None:
    assert SessionMiddleware(None, url="memory:").recheck == 30  # type: ignore[arg-type]
    assert ours_for_quart.Sessile().recheck == 30


@pytest.mark.parametrize("framework", ["starlette"], indirect=True)
def test_a_handshake_in_an_outage_is_put_off_and_touches_no_cookie(site: Site) -> None:
    """In Quart it's the view that meets the outage, where it looks at the session."""

    async def test() -> None:
        (proxy,) = site.store.proxies
        state = site.session()
        proxy.refuse = True
        socket = Socket(site, state.id, "early")
        await asyncio.gather(socket.task)
        assert socket.sent == [{"type": "websocket.close", "code": 1013}]
        proxy.refuse = False
        assert site.stored(state) == {USER: "ann", "fruit": "pear"}

    site.run(test)
