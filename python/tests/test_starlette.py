"""Sessions in ASGI apps: Starlette's, and any that knows nothing but the scope."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from counting import Counting
from sessile import ConfigurationError, SessionConflict, session_state
from sessile.starlette import SessionMiddleware


@pytest.fixture
def store(monkeypatch):
    store = Counting()
    monkeypatch.setattr("sessile.settings.ENGINES", {"memory:asgi": store})
    monkeypatch.setattr("sessile.settings.ASYNC_ENGINES", {})
    return store


async def untouched(request):
    return PlainTextResponse("ok")


async def read(request):
    return JSONResponse(dict(request.session))


async def put(request):
    request.session.update(await request.json())
    return JSONResponse(dict(request.session))


async def in_place(request):
    request.session.setdefault("cart", {}).setdefault("items", []).append(1)
    return PlainTextResponse("ok")


async def count(request):
    request.session.incr("count")
    return JSONResponse(dict(request.session))


async def sign_out(request):
    request.session.clear()
    return PlainTextResponse("ok")


async def replaced(request):
    request.scope["session"] = {"other": "dict"}
    return PlainTextResponse("ok")


async def emptied(request):
    request.scope["session"] = None
    return PlainTextResponse("ok")


async def fail(request):
    request.session["lost"] = True
    return PlainTextResponse("failed", status_code=500)


async def late(request):
    async def body():
        yield b"begun"
        request.session["late"] = True

    return StreamingResponse(body(), headers={"Vary": "Accept", "Cache-Control": "max-age=5"})


async def early(request):
    request.session["early"] = True
    await request.session.save()

    async def body():
        yield b"begun"

    return StreamingResponse(body())


async def late_talk(socket):
    await socket.accept()
    async for word in socket.iter_text():
        socket.session["word"] = word
        if word == "sign in":
            socket.session["user_id"] = 7
        try:
            await socket.session.save()
            await socket.send_text("saved")
        except SessionConflict as error:
            await socket.send_text(str(error))


async def talk(socket):
    socket.session["greeted"] = True
    await socket.accept()
    async for word in socket.iter_text():
        socket.session["last"] = word
        if word == "save":
            await socket.session.save()
        await socket.send_text(str(dict(socket.session)))


def app_of(**options):
    routes = [
        Route("/untouched", untouched),
        Route("/read", read),
        Route("/set", put, methods=["POST"]),
        *(
            Route(f"/{view.__name__}", view, methods=["POST"])
            for view in (in_place, count, sign_out, replaced, emptied, fail, late, early)
        ),
        WebSocketRoute("/talk", talk),
        WebSocketRoute("/late_talk", late_talk),
    ]
    options = {"url": "memory:asgi", "dev": True, **options}
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, **options)])


@pytest.fixture
def client(store):
    with TestClient(app_of()) as client:
        yield client


def cookie_of(response):
    return response.headers.get("set-cookie", "")


def test_commands_per_request(client, store):
    assert client.get("/untouched").status_code == 200 and store.taken() == {}
    assert client.get("/read").json() == {} and store.taken() == {}
    client.post("/set", json={"a": 1})
    assert store.taken() == {"create": 1}
    assert client.get("/read").json() == {"a": 1} and store.taken() == {"load": 1}
    client.post("/set", json={"a": 2})
    assert store.taken() == {"load": 1, "save": 1}
    client.post("/set", json={"user_id": 7})
    assert store.taken() == {"load": 1, "rotate": 1}
    assert client.get("/read").headers["cache-control"] == "private, no-store"
    store.taken()
    client.post("/sign_out")
    assert store.taken() == {"load": 1, "end": 1}
    assert client.get("/read").json() == {} and store.taken() == {}


def test_changes_are_found_by_comparing(client, store):
    client.post("/in_place")
    client.post("/in_place")
    assert client.get("/read").json() == {"cart": {"items": [1, 1]}}
    client.post("/count")
    assert client.post("/count").json()["count"] == 2


def test_what_a_framework_puts_in_its_place_counts(client, store):
    client.post("/set", json={"a": 1})
    client.post("/replaced")
    assert client.get("/read").json() == {"other": "dict"}
    store.taken()
    response = client.post("/emptied")
    assert store.taken() == {"load": 1, "end": 1} and "Max-Age=0" in cookie_of(response)


def test_signing_in_changes_the_id_and_the_old_one_opens_nothing(client, store):
    client.post("/set", json={"a": 1})
    before = client.cookies["session"]
    client.post("/set", json={"user_id": 7})
    assert client.cookies["session"] != before
    client.cookies.set("session", before)
    response = client.get("/read")
    assert response.json() == {} and not cookie_of(response)


@pytest.mark.parametrize("sent", ["x" * 43, "short", "x" * 4000, "a" * 42 + "."])
def test_ids_that_were_not_issued_are_never_adopted(client, store, sent):
    response = client.post("/set", json={"a": 1}, headers={"cookie": f"session={sent}"})
    assert sent not in cookie_of(response)
    assert store.taken().get("load", 0) == (1 if sent == "x" * 43 else 0)


def test_a_failed_view_writes_nothing(client, store):
    assert client.post("/fail").status_code == 500 and store.taken() == {}


def test_an_outage_is_503_and_touches_no_cookie(client, store):
    client.post("/set", json={"a": 1})
    store.is_down = True
    response = client.get("/read")
    assert response.status_code == 503 and not cookie_of(response)
    assert response.headers["retry-after"] == "1"
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/talk"):
        pass
    assert refused.value.code == 1013
    store.is_down = False
    assert client.get("/read").json() == {"a": 1}
    without = TestClient(app_of())
    store.is_down = True
    assert without.post("/set", json={"a": 1}).status_code == 503


def test_cookies_are_safe_unless_told_otherwise(store):
    with TestClient(app_of(dev=False), base_url="https://testserver") as client:
        cookie = cookie_of(client.post("/set", json={"a": 1}))
        assert cookie.startswith("__Host-session=")
        for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/;", "Max-Age=1209600"):
            assert part in cookie
        assert client.get("/read").json() == {"a": 1}
    with TestClient(app_of(max_age=None)) as client:
        assert "Max-Age" not in cookie_of(client.post("/set", json={"a": 1}))


def test_headers_of_the_view_stay(client, caplog):
    response = client.post("/late")
    assert response.headers["vary"] == "Accept, Cookie"
    assert response.headers["cache-control"] == "max-age=5"
    assert "after its response had started" in caplog.text


def test_a_stream_saves_before_it_starts(client):
    assert cookie_of(client.post("/early"))
    assert client.get("/read").json() == {"early": True}


def test_a_socket_gets_its_cookie_with_the_handshake_and_writes_when_asked(client, store):
    with client.websocket_connect("/talk") as socket:
        socket.send_text("save")
        assert "'last': 'save'" in socket.receive_text()
        assert store.taken() == {"create": 1, "save": 1}
    with client.websocket_connect("/talk") as socket:
        socket.send_text("bye")
        assert "'greeted': True" in socket.receive_text()


def test_an_open_socket_makes_no_session_that_no_browser_knows(client, store):
    with client.websocket_connect("/late_talk") as socket:
        socket.send_text("a word")
        assert "can't be told a new id" in socket.receive_text()
    assert store.taken() == {}
    client.post("/set", json={"a": 1})
    with client.websocket_connect("/late_talk") as socket:
        socket.send_text("a word")
        assert socket.receive_text() == "saved"
        # It would get another id.
        socket.send_text("sign in")
        assert "can't be told a new id" in socket.receive_text()
    assert store.taken() == {"create": 1, "load": 1, "save": 1}
    assert client.get("/read").json() == {"a": 1, "word": "a word"}


def test_a_socket_is_closed_when_its_session_ends(store):
    with TestClient(app_of(recheck=0.01)) as client:
        client.post("/set", json={"user_id": 7})
        with client.websocket_connect("/talk") as socket:
            store.engine.end_all("app:7")
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
            assert closed.value.code == 4401


def test_a_cancelled_request_leaves_nothing_behind(store):
    async def test():
        middleware = SessionMiddleware(waiting, url="memory:asgi", dev=True)
        task = asyncio.ensure_future(middleware(scope, None, None))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = asyncio.Event()

    async def waiting(scope, receive, send):
        scope["session"]["never"] = "written"
        started.set()
        await asyncio.Event().wait()

    scope = {"type": "http", "headers": [(b"cookie", b"session=" + b"x" * 43)]}
    asyncio.run(test())
    assert store.taken() == {"load": 1}


def test_bad_settings_are_named():
    with pytest.raises(ConfigurationError, match="no setting 'uri'"):
        SessionMiddleware(None, uri="memory:")
    with pytest.raises(ConfigurationError, match="same_site"):
        SessionMiddleware(None, url="memory:", same_site="lacks")


@pytest.mark.parametrize("options", [{}, {"slide": True}, {"max_age": None}], ids=str)
def test_answers_that_a_sign_in_overtakes_bring_no_old_cookie_back(store, options):
    with TestClient(app_of(**options)) as client:
        client.post("/set", json={"a": 1})
        before = client.cookies["session"]

        def send(method, path, **what):
            client.cookies.clear()
            return client.request(method, path, headers={"Cookie": f"session={before}"}, **what)

        earlier = [send("GET", "/read"), send("POST", "/set", json={"b": 1})]
        earlier += [send("POST", path) for path in ("/count", "/in_place", "/early")]
        signed_in = send("POST", "/set", json={"user_id": 7})
        later = [send("GET", "/read"), send("POST", "/set", json={"c": 1})]
    assert [answer.status_code for answer in later] == [200, 409]
    assert "session=" in cookie_of(signed_in)
    # So the browser has that cookie in the end, whatever the order in which they arrive.
    assert [cookie_of(answer) for answer in (*earlier, *later)] == [""] * 7


def test_a_cookie_is_told_again_past_a_tenth_of_its_age(store, monkeypatch):
    with TestClient(app_of(max_age=1000)) as client:
        assert "Max-Age=1000" in cookie_of(client.post("/set", json={"a": 1}))
        assert not cookie_of(client.post("/set", json={"a": 2}))
        now = session_state.now_ms
        monkeypatch.setattr(session_state, "now_ms", lambda: now() + 200_000)
        assert not cookie_of(client.get("/read"))
        assert "Max-Age=1000" in cookie_of(client.post("/set", json={"a": 3}))
        assert not cookie_of(client.post("/set", json={"a": 4}))
    with TestClient(app_of(max_age=1000, slide=True)) as client:
        client.post("/set", json={"a": 1})
        assert not cookie_of(client.get("/read"))
        monkeypatch.setattr(session_state, "now_ms", lambda: now() + 400_000)
        store.taken()
        assert "Max-Age=1000" in cookie_of(client.get("/read"))
        assert store.taken() == {"load": 1, "save": 1}, "the read that renews it notes that"
        assert not cookie_of(client.get("/read"))
