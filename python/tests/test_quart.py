"""Sessions in Quart: as in Flask, awaited."""

from __future__ import annotations

import asyncio

import pytest
from quart import Quart, request, session, websocket

from counting import Counting
from sessile import session_state
from sessile.quart import Sessile


@pytest.fixture
def store(monkeypatch):
    store = Counting()
    monkeypatch.setattr("sessile.settings.ENGINES", {"memory:quart": store})
    monkeypatch.setattr("sessile.settings.ASYNC_ENGINES", {})
    return store


@pytest.fixture
def app(store, tmp_path):
    (tmp_path / "logo.txt").write_text("logo")
    app = Quart(__name__, static_folder=str(tmp_path), static_url_path="/static")
    Sessile(app, url="memory:quart")

    @app.get("/untouched")
    async def untouched():
        return "ok"

    @app.get("/read")
    async def read():
        return dict(session)

    @app.post("/set")
    async def put():
        session.update(await request.get_json())
        return dict(session)

    @app.post("/permanent")
    async def permanent():
        session.permanent = session["kept"] = True
        return "ok"

    @app.post("/sign-out")
    async def sign_out():
        session.clear()
        return "ok"

    @app.post("/fail")
    async def fail():
        session["lost"] = True
        raise RuntimeError("a view that fails")

    @app.websocket("/talk")
    async def talk():
        await websocket.send(session.get("a", "nobody"))
        session["heard"] = True

    return app


def run(test):
    asyncio.run(test)


def test_commands_per_request(app, store):
    async def test():
        client = app.test_client()
        assert (await client.get("/untouched")).status_code == 200 and store.taken() == {}
        assert await (await client.get("/read")).get_json() == {} and store.taken() == {}
        await client.post("/set", json={"a": "x"})
        assert store.taken() == {"create": 1}
        response = await client.get("/read")
        assert await response.get_json() == {"a": "x"} and store.taken() == {"load": 1}
        assert response.headers["Vary"] == "Cookie"
        await client.post("/set", json={"a": "y"})
        assert store.taken() == {"load": 1, "save": 1}
        await client.post("/set", json={"_user_id": "ann"})
        assert store.taken() == {"load": 1, "rotate": 1}
        assert (await client.get("/read")).headers["Cache-Control"] == "private, no-store"
        store.taken()
        assert (await client.get("/static/logo.txt")).status_code == 200 and store.taken() == {}
        response = await client.post("/sign-out")
        assert store.taken() == {"load": 1, "end": 1} and "Max-Age=0" in str(response.headers)
        assert await (await client.get("/read")).get_json() == {} and store.taken() == {}

    run(test())


def test_an_outage_is_503_where_the_session_is_needed_and_nowhere_else(app, store):
    async def test():
        client = app.test_client()
        await client.post("/set", json={"a": "x"})
        store.is_down = True
        for response in (await client.get("/read"), await client.post("/set", json={"b": 1})):
            assert response.status_code == 503 and "Set-Cookie" not in response.headers
        assert (await client.get("/untouched")).status_code == 200
        store.is_down = False
        assert await (await client.get("/read")).get_json() == {"a": "x"}

    run(test())


def test_a_failed_view_writes_nothing_and_a_socket_sees_the_session(app, store, caplog):
    async def test():
        client = app.test_client()
        assert (await client.post("/fail")).status_code == 500 and store.taken() == {}
        await client.post("/set", json={"a": "x"})
        async with client.websocket("/talk") as socket:
            assert await socket.receive() == "x"
        assert (await (await client.get("/read")).get_json())["heard"]
        store.taken()
        # A new session would be one that no browser knows.
        async with app.test_client().websocket("/talk") as socket:
            assert await socket.receive() == "nobody"
        assert store.taken() == {}
        assert "can't be told a new id" in caplog.text

    run(test())


@pytest.mark.parametrize("lasting", [False, True], ids=["closing", "permanent"])
def test_answers_that_a_sign_in_overtakes_bring_no_old_cookie_back(
    app, store, lasting, monkeypatch
):
    async def test():
        client = app.test_client()
        if lasting:
            await client.post("/permanent")
        first = await client.post("/set", json={"a": 1})
        before = next(iter(client.cookie_jar)).value
        assert bool(first.headers.get("Set-Cookie")) is not lasting

        async def send(method, path, **what):
            browser = app.test_client(use_cookies=False)
            headers = {"Cookie": f"session={before}"}
            answer = await browser.open(path, method=method, headers=headers, **what)
            return answer.status_code, answer.headers.get("Set-Cookie", "")

        earlier = [await send("GET", "/read"), await send("POST", "/set", json={"b": 1})]
        signed_in = await send("POST", "/set", json={"_user_id": "ann"})
        later = [await send("GET", "/read"), await send("POST", "/set", json={"c": 1})]
        assert "session=" in signed_in[1]
        assert earlier == [(200, "")] * 2 and later == [(200, ""), (409, "")]
        before = signed_in[1].partition("session=")[2].partition(";")[0]
        now = session_state.now_ms
        monkeypatch.setattr(session_state, "now_ms", lambda: now() + 40 * 86400 * 100)
        assert ("session=" in (await send("GET", "/read"))[1]) is lasting

    run(test())
