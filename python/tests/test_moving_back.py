"""From one way of moving to the next, and back: what one of them left must not mislead another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from moves import Client, Move, moving, signed_in, user_of
from sessile.django import SessionStore
from sessile.django.config import configured
from sessile.django.moving import OldEngine
from stores import World

WAYS = [
    ("cached_db", "redis"),
    ("cache-django_redis", "sessile"),
    ("db", "memcached"),
    ("cache-redis", "encrypted"),
]


@pytest.fixture(params=WAYS, ids="-to-".join)
def move(request: pytest.FixtureRequest, world: World) -> Iterator[Move]:
    name, target = request.param
    with moving(name, target, world) as move:
        yield move


def hits(client: Client) -> dict[str, Any]:
    return client.get("/read").json()  # type: ignore[no-any-return]


def id_of(client: Client) -> str:
    return client.cookies["sessionid"].value


def with_id(id: str) -> Client:
    client = Client()
    client.cookies["sessionid"] = id
    return client


def mirrored(move: Move) -> Client:
    """Somebody whose session is in both stores, changed by both engines."""
    client = signed_in(move)
    with move.ours("mirror"):
        client.get("/change")
        assert hits(client) == {"hits": 2, "user": "ada"}
    return client


def test_an_old_worker_takes_back_what_a_new_one_did(move: Move) -> None:
    client = mirrored(move)
    with move.old():
        store = OldEngine(move.engine).Store(id_of(client))
        assert store["hits"] == 2
        store["hits"] = 1
        store.save()
    with move.ours("mirror"):
        assert hits(client) == {"hits": 1, "user": "ada"}
    with move.old():
        assert hits(client) == {"hits": 1, "user": "ada"}


def test_an_old_worker_that_writes_what_it_read_takes_nothing_back(move: Move) -> None:
    client = mirrored(move)
    with move.old():
        store = OldEngine(move.engine).Store(id_of(client))
        assert store["hits"] == 2
    with move.ours("mirror"):
        client.get("/change")
    with move.old():
        store.save()
    with move.ours("mirror"):
        assert hits(client) == {"hits": 3, "user": "ada"}
    with move.old():
        assert hits(client) == {"hits": 3, "user": "ada"}


def test_back_from_move_the_old_record_is_as_new(move: Move) -> None:
    client = mirrored(move)
    with move.ours("move"):
        client.get("/change")
    with move.ours("mirror"):
        assert hits(client) == {"hits": 3, "user": "ada"}
    with move.old():
        assert hits(client) == {"hits": 3, "user": "ada"}


def test_back_from_move_when_the_old_record_ran_out(move: Move) -> None:
    client = mirrored(move)
    with move.ours("move"):
        client.get("/change")
        OldEngine(move.engine).remove(id_of(client))
        assert hits(client) == {"hits": 3, "user": "ada"}
    with move.ours("mirror"):
        assert hits(client) == {"hits": 3, "user": "ada"}
    with move.old():
        assert hits(client) == {"hits": 3, "user": "ada"}


def test_back_from_move_with_another_id(move: Move) -> None:
    client = mirrored(move)
    before = id_of(client)
    with move.ours("move"):
        client.get("/cycle")
        assert id_of(client) != before
    with move.ours("mirror"):
        assert hits(client) == {"hits": 2, "user": "ada"}
    with move.old():
        assert hits(client) == {"hits": 2, "user": "ada"}
        assert user_of(with_id(before)) == "AnonymousUser"


def test_what_was_mirrored_and_ended_does_not_come_back_by_moving(move: Move) -> None:
    client = mirrored(move)
    with move.ours("move"):
        key = SessionStore(id_of(client)).store_key
        assert key and configured().engine().end(key.encode()) == 1
        assert move.records(client)
        assert user_of(client) == "AnonymousUser"
        assert not move.records(client)


def test_what_an_old_worker_ended_stays_ended_by_moving(move: Move) -> None:
    client, other = mirrored(move), mirrored(move)
    ended, renewed = id_of(client), id_of(other)
    with move.old():
        client.get("/sign_out")
        other.get("/cycle")
    with move.ours("move"):
        assert user_of(with_id(ended)) == "AnonymousUser"
        assert user_of(with_id(renewed)) == "AnonymousUser"
        assert hits(other) == {"hits": 2, "user": "ada"}


def test_what_an_old_worker_changed_counts_after_moving(move: Move) -> None:
    client = mirrored(move)
    with move.old():
        client.get("/change")
    with move.ours("move"):
        assert hits(client) == {"hits": 3, "user": "ada"}
        client.get("/change")
        assert hits(client) == {"hits": 4, "user": "ada"}


@pytest.mark.parametrize("way", ["mirror", "move"])
def test_a_request_under_way_by_a_renewed_id_ends_nothing(move: Move, way: str) -> None:
    client = mirrored(move)
    late = with_id(id_of(client))
    with move.ours(way), override_settings(SESSILE_GRACE=60):
        client.get("/cycle")
        assert hits(late) == {"hits": 2, "user": "ada"}
        late.get("/change")
        assert hits(client) == {"hits": 3, "user": "ada"}
    with move.ours("mirror"):
        assert hits(client) == {"hits": 3, "user": "ada"}
    with move.old():
        assert hits(client) == {"hits": 3, "user": "ada"}
