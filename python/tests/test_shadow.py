"""While the old engine serves and ours is written beside it: what is compared, logged and harmless.

Whatever becomes of our store, its sessions or a value that it can't keep: the old engine goes on,
synchronous and asynchronous, and the log says it without an id or a value.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import AsyncClient, override_settings

from moves import Client, Move, moving, signed_in, user_of
from proxy import counting
from sessile.contract import Changes, Life
from sessile.django import SessionStore
from sessile.django.config import configured
from sessile.django.moving import OldEngine
from stores import World

NOWHERE = "127.0.0.1:1"
DEEP = 40
"""More levels than a session of ours may have."""
SECRET = 471174117
Visit = Callable[[Client, str], Any]


WAYS = [
    ("cached_db", "redis"),
    ("cache-redis", "sessile"),
    ("cached_db", "memcached"),
    ("cache-redis", "encrypted"),
]
"""Old engines, and where the shadows are."""


@pytest.fixture(params=WAYS, ids="-to-".join)
def move(request: pytest.FixtureRequest, world: World) -> Iterator[Move]:
    name, target = request.param
    with moving(name, target, world) as move:
        yield move


@pytest.fixture(params=["sync", "async"])
def visit(request: pytest.FixtureRequest) -> Visit:
    """Requests a page as the browser would: of the synchronous site, or of the asynchronous."""

    def sync(client: Client, path: str) -> Any:
        return client.get("/" + path)

    async def ask(cookies: Any, path: str) -> Any:
        browser = AsyncClient()
        browser.cookies = cookies
        answer = await browser.get("/a" + path)
        await configured().async_engine().close()
        return answer

    def awaited(client: Client, path: str) -> Any:
        return asyncio.run(ask(client.cookies, path))

    return sync if request.param == "sync" else awaited


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was warned of since the last call."""
    caplog.set_level(logging.WARNING, "sessile.moving")

    def take() -> list[str]:
        said = [one.getMessage() for one in caplog.records if one.name == "sessile.moving"]
        caplog.clear()
        return said

    return take


def ours(client: Client) -> Any:
    """The session as our store has it, without any source."""
    with override_settings(SESSILE_SOURCE=None, SESSILE_MOVING=None):
        store = SessionStore(client.cookies["sessionid"].value)
        store.load()
        return store


def change_ours(client: Client, hits: int) -> None:
    """Another value in our store than the old engine has."""
    with override_settings(SESSILE_SOURCE=None, SESSILE_MOVING=None):
        store = ours(client)
        store["hits"] = hits
        store.save()


def handle_of(client: Client) -> str:
    key = SessionStore(client.cookies["sessionid"].value).store_key
    assert key
    return key[-64:]


def test_a_shadow_is_written_and_compared(move: Move, warnings: Callable[[], list[str]]) -> None:
    client = signed_in(move)
    with move.ours("shadow"):
        client.get("/change")
        client.get("/cycle")
        assert client.get("/read").json() == {"hits": 2, "user": "ada"}
        assert move.records(client)
        assert ours(client)["hits"] == 2
        client.get("/read")
        key = SessionStore(client.cookies["sessionid"].value).store_key
        assert key and configured().engine().end(key.encode()) == 1
        with move.old():
            client.get("/change")
        assert client.get("/read").json() == {"hits": 3, "user": "ada"}
        assert warnings() == []
    assert client.get("/read").json() == {"hits": 3, "user": "ada"}


def test_a_difference_is_told_once_without_id_or_value(
    move: Move, visit: Visit, warnings: Callable[[], list[str]]
) -> None:
    client = signed_in(move)
    with move.ours("shadow"):
        assert visit(client, "read").json() == {"hits": 1, "user": "ada"}
        change_ours(client, SECRET)
        assert ours(client)["hits"] == SECRET
        assert warnings() == []
        assert visit(client, "read").json() == {"hits": 1, "user": "ada"}
        (said,) = warnings()
        assert said == f"session {handle_of(client)[:12]} differs from its old record"
        assert client.cookies["sessionid"].value not in said
        assert str(SECRET) not in said
        # From then on ours is what the old engine has, and there is nothing more to say.
        assert ours(client)["hits"] == 1
        assert visit(client, "read").json() == {"hits": 1, "user": "ada"}
        assert warnings() == []


def test_a_session_of_ours_that_makes_no_sense_is_a_difference(
    move: Move, visit: Visit, warnings: Callable[[], list[str]]
) -> None:
    client = signed_in(move)
    with move.ours("shadow"):
        visit(client, "read")
        key = SessionStore(client.cookies["sessionid"].value).store_key
        assert key
        with override_settings(SESSILE_ENCRYPTION_KEYS=None):
            configured().engine().save(key.encode(), Changes(set={b"hits": b"{nonsense 1"}), Life())
        assert visit(client, "change").status_code == 200
        assert visit(client, "read").json() == {"hits": 2, "user": "ada"}
        said = warnings()
        assert said and all("nonsense" not in one for one in said)


def test_without_our_store_the_old_engine_serves(
    move: Move, visit: Visit, warnings: Callable[[], list[str]]
) -> None:
    client = signed_in(move)
    scheme = configured().url.partition(":")[0]
    with move.ours("shadow"):
        visit(client, "read")
        with override_settings(SESSILE_URL=f"{scheme}://{NOWHERE}"):
            assert visit(client, "read").json() == {"hits": 1, "user": "ada"}
            (asked, followed) = warnings()
            assert asked == "a shadow was not reached: SessionUnavailable"
            assert followed.startswith(f"session {handle_of(client)[:12]} was not shadowed: ")
            assert visit(client, "change").status_code == 200
            assert visit(client, "read").json() == {"hits": 2, "user": "ada"}
            cookie = client.cookies["sessionid"].value
            assert all(cookie not in one for one in warnings())
        # The store is back, and what it missed is made good.
        assert ours(client)["hits"] == 1
        assert visit(client, "read").json() == {"hits": 2, "user": "ada"}
        assert ours(client)["hits"] == 2


def test_without_our_store_people_sign_in_and_out(move: Move, visit: Visit) -> None:
    client, scheme = Client(), configured().url.partition(":")[0]
    gone = override_settings(SESSILE_URL=f"{scheme}://{NOWHERE}")
    with move.ours("shadow"), gone:
        answer = visit(client, "sign_in?name=grace")
        client.cookies["sessionid"] = cookie = answer.cookies["sessionid"].value
        assert visit(client, "read").json()["user"] == "grace"
        assert visit(client, "sign_out").status_code == 200
        client.cookies["sessionid"] = cookie
        assert visit(client, "read").json()["user"] == "AnonymousUser"


@pytest.mark.parametrize("move", WAYS[:2], indirect=True, ids="-to-".join)
def test_a_store_that_goes_between_two_requests(move: Move, visit: Visit) -> None:
    client, url = signed_in(move), configured().url
    scheme, _, rest = url.partition("://127.0.0.1:")
    with move.ours("shadow"), counting(int(rest.partition("/")[0])) as proxy:
        with override_settings(SESSILE_URL=f"{scheme}://127.0.0.1:{proxy.port}"):
            assert visit(client, "change").status_code == 200
            assert ours(client)["hits"] == 2
            proxy.refuse = True
            proxy.cut()
            assert visit(client, "change").status_code == 200
            assert visit(client, "read").json() == {"hits": 3, "user": "ada"}
        assert ours(client)["hits"] == 2


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The old engine's writes, by the methods that made them."""
    made: list[str] = []

    def counted(name: str) -> Any:
        method = getattr(OldEngine, name)

        def write(self: Any, *args: Any) -> Any:
            made.append(name)
            return method(self, *args)

        return write

    for name in ("write", "awrite"):
        monkeypatch.setattr(OldEngine, name, counted(name))
    return made


def deep() -> dict[str, Any]:
    document: dict[str, Any] = {"leaf": SECRET}
    for _ in range(DEEP):
        document = {"level": document}
    return document


def put_into_old(move: Move, client: Client, value: Any) -> None:
    with move.old():
        store = OldEngine(move.engine).Store(client.cookies["sessionid"].value)
        store["odd"] = value
        store.save()


def test_what_cannot_be_kept_here_is_named_and_served(
    move: Move, visit: Visit, warnings: Callable[[], list[str]], writes: list[str]
) -> None:
    client = signed_in(move)
    put_into_old(move, client, deep())
    with move.ours("shadow"):
        assert visit(client, "read").json() == {"hits": 1, "user": "ada"}
        (said,) = warnings()
        assert said.startswith(f"session {handle_of(client)[:12]} could not be kept here: ")
        assert "odd['level']" in said
        assert client.cookies["sessionid"].value not in said
        assert str(SECRET) not in said
        assert writes == []
        assert visit(client, "change").status_code == 200
        assert len(writes) == 1
        assert visit(client, "read").json() == {"hits": 2, "user": "ada"}
        assert len(writes) == 1
    with move.old():
        assert OldEngine(move.engine).Store(client.cookies["sessionid"].value)["odd"] == deep()


@pytest.mark.parametrize("move", [("cache-redis", "redis")], indirect=True, ids=["cache"])
def test_a_pickled_object_is_served_as_before(
    move: Move, visit: Visit, warnings: Callable[[], list[str]], writes: list[str]
) -> None:
    client = signed_in(move)
    put_into_old(move, client, Odd())
    with move.ours("shadow"):
        assert visit(client, "read").json() == {"hits": 1, "user": "ada"}
        assert len(warnings()) == 1
        assert writes == []
        assert visit(client, "change").status_code == 200
        assert visit(client, "read").json() == {"hits": 2, "user": "ada"}
        assert len(writes) == 1


class Odd:
    """Equal to nothing but itself, copies included."""


def test_a_value_that_cannot_be_kept_comes_with_a_request(
    move: Move, warnings: Callable[[], list[str]]
) -> None:
    client = signed_in(move)
    with move.ours("shadow"):
        store = SessionStore(client.cookies["sessionid"].value)
        store["odd"] = deep()
        assert store.modified
        store.save()
        (said,) = warnings()
        assert "was not shadowed: " in said
        assert str(SECRET) not in said
        assert not store._state.modified
        store.modified = False
        assert user_of(client) == "ada"
    with move.old():
        assert OldEngine(move.engine).Store(client.cookies["sessionid"].value)["odd"] == deep()
