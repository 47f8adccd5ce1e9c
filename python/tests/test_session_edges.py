"""What apps do to sessions that is odd, and allowed: tasks that share one, ids changed twice,
writing after a sign-out, answers that are streams, a store that starts anew in between.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory, override_settings
from flask import Flask, session

import django_site
from proxy import Proxy
from servers import Store
from sessile.django import SessionMiddleware, SessionStore
from sessile.flask import Sessile


def begun(**data: Any) -> str:
    """The id of a new session."""
    store = SessionStore()
    store.update(data)
    store.save()
    assert store.session_key
    return store.session_key


def found(id: str | None) -> dict[str, Any]:
    """What the store has."""
    return dict(SessionStore(id).items())


def test_tasks_that_share_a_session_lose_nothing_by_loading_it_at_once(any_site: Proxy) -> None:
    id = begun(start=0)

    async def request() -> None:
        store = SessionStore(id)
        await asyncio.gather(*(store.aset(f"k{n}", n) for n in range(8)))
        await store.asave()

    asyncio.run(request())
    assert found(id) == {"start": 0, **{f"k{n}": n for n in range(8)}}


def test_an_id_that_is_changed_twice_counts_once(any_site: Proxy) -> None:
    id = begun(a=1)
    store = SessionStore(id)
    store.cycle_key()
    between = store.session_key
    store.cycle_key()
    store["b"] = 2
    store.save()
    assert found(store.session_key) == {"a": 1, "b": 2}
    assert found(id) == found(between) == {}
    store.cycle_key()
    store.save()
    assert found(store.session_key) == {"a": 1, "b": 2}


def test_what_is_written_after_a_sign_out_is_a_session_of_its_own(any_site: Proxy) -> None:
    id = begun(a=1)
    store = SessionStore(id)
    store.flush()
    store["b"] = 2
    store.cycle_key()
    store.save()
    assert store.session_key != id
    assert found(store.session_key) == {"b": 2}
    assert found(id) == {}
    store.flush()
    store.save()
    assert found(store.session_key) == {}


def test_what_is_written_after_a_delete_has_another_id(any_site: Proxy) -> None:
    id = begun(cart={"apple": 1})
    store = SessionStore(id)
    store.delete()
    store["late"] = 1
    store.save()
    assert store.session_key != id
    assert found(store.session_key) == {"late": 1}
    assert found(id) == {}
    store = SessionStore(store.session_key)
    store["later"] = store["late"]
    store.delete()
    with pytest.raises(UpdateError):
        store.save()


@pytest.mark.parametrize("every", [False, True])
def test_a_stream_changes_nothing_when_it_has_begun(any_site: Proxy, every: bool) -> None:
    id = begun(a=1)

    def view(request: Any) -> StreamingHttpResponse:
        request.session["before"] = 1

        def body() -> Any:
            request.session["late"] = request.session["a"]
            yield b"text"

        return StreamingHttpResponse(body())

    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = id
    with override_settings(SESSION_SAVE_EVERY_REQUEST=every):
        response = SessionMiddleware(view)(request)
        assert b"".join(response.streaming_content) == b"text"
    assert found(id) == {"a": 1, "before": 1}


def test_every_request_saved_revives_nothing(any_site: Proxy) -> None:
    client = Client(raise_request_exception=False)
    client.get("/sign_in?name=ada")
    id = client.cookies["sessionid"].value

    def view(request: Any) -> HttpResponse:
        assert request.session["_auth_user_id"]
        SessionStore(id).delete()
        return HttpResponse()

    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = id
    ended = pytest.raises(SessionInterrupted, match="ended")
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True), ended:
        SessionMiddleware(view)(request)
    assert found(id) == {}


def test_a_view_that_fails_saves_nothing_and_the_next_request_is_served(any_site: Proxy) -> None:
    id = begun(a=1)

    def view(request: Any) -> HttpResponse:
        request.session["b"] = 2
        request.session.cycle_key()
        raise ValueError("a fault of the app")

    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = id
    with pytest.raises(ValueError, match="a fault"):
        SessionMiddleware(view)(request)
    assert found(id) == {"a": 1}


def test_a_store_that_forgot_everything_between_reading_and_saving() -> None:
    django_site.users()
    with Store() as server:
        url = f"sessile://127.0.0.1:{server.port}"
        with override_settings(SESSILE_URL=url):
            id = begun(a=1)
            store = SessionStore(id)
            store["b"] = store["a"] + 1
            port = server.port
            server.stop()
            with Store(port=port):
                with pytest.raises(UpdateError):
                    store.save()
                assert found(id) == {}
                assert found(begun(c=3)) == {"c": 3}


def test_flask_s_test_client_opens_and_changes_sessions() -> None:
    app = Flask("edges")
    app.config.update(TESTING=True)
    Sessile(app, url="memory:")

    @app.get("/")
    def view() -> dict[str, Any]:
        return dict(session)

    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = not session.permanent
        return str(session.permanent)

    client = app.test_client()
    with client.session_transaction() as opened:
        opened["user"] = {"name": "ada"}
    assert client.get("/").json == {"user": {"name": "ada"}}
    with client.session_transaction() as opened:
        opened["user"]["name"] = "grace"
    assert client.get("/").json == {"user": {"name": "grace"}}
    assert "Expires" in client.get("/permanent").headers["Set-Cookie"]
    assert "Expires" not in client.get("/permanent").headers["Set-Cookie"]
    with client.session_transaction() as opened:
        opened.clear()
    assert client.get("/").json == {}
