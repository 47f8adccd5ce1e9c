"""Old and new workers side by side on the same sessions: nobody is signed out, nobody comes back.

The old workers read a JSON value, change it and write it back if it's still there; the new ones
mirror. Sessions are ended from either side while both write. SEED=n repeats a run's choices.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import redis

from sessile.errors import SessionConflict, SessionGone
from sessile.ids import new_id
from sessile.moving import Moving, Way
from sessile.moving_redis import RedisKeys
from sessile.plans import run
from sessile.session import Standing, session_of
from sessile.settings import Settings
from stores import World, together

SEED = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
SESSIONS, TURNS = 12, 12


class Workers:
    """What old and new workers do to one session."""

    def __init__(self, settings: Settings, source: RedisKeys, id: str) -> None:
        self.settings, self.source, self.id = settings, source, id

    def old(self, turn: int) -> None:
        found = self.source.read(self.id)
        if found is not None:
            self.source.write(self.id, {**found.document, "old": turn}, 600, new=False)

    def new(self, turn: int) -> None:
        session = session_of(self.settings, self.id)
        engine = self.settings.engine()
        try:
            run(engine, session.load())
            if session.standing is Standing.LIVE:
                session.data["new"] = turn
                run(engine, session.save())
        except (SessionGone, SessionConflict):
            pass

    def end_old(self) -> None:
        self.source.remove(self.id)

    def end_new(self) -> None:
        run(self.settings.engine(), session_of(self.settings, self.id).end())

    def seen(self) -> tuple[Any, Any]:
        """Who is signed in, by our engine and by the old one."""
        session = session_of(self.settings, self.id)
        run(self.settings.engine(), session.load())
        found = self.source.read(self.id)
        return session.data.get("user"), found and found.document.get("user")


@pytest.fixture(params=["redis", "sessile", "memcached", "encrypted"])
def settings(request: pytest.FixtureRequest, world: World) -> Settings:
    """Those of new workers, on a store that nobody has used yet."""
    target = request.param
    url = {
        "redis": world.redis().url,
        "memcached": "memcached://" + ",".join(world.memcached()),
    }.get(target) or f"sessile://127.0.0.1:{world.sessile().port}"
    source = RedisKeys(redis.Redis(port=world.redis().port), f"old-{secrets.token_hex(4)}:")
    return Settings(
        url,
        namespace=f"t{secrets.token_hex(4)}",
        encryption_keys=(b"a key of this test that is long enough",) * (target == "encrypted"),
        user_of=lambda document: document.get("user", ""),
        moving=Moving(source, "mirror"),
    )


def signed_in(settings: Settings) -> Workers:
    """Somebody who signed in with the old engine."""
    id = new_id()
    source: RedisKeys = settings.moving.source
    source.write(id, {"user": "ada", "old": 0}, 600, new=True)
    return Workers(settings, source, id)


@pytest.mark.parametrize("way", ["move", "mirror"])
def test_the_first_requests_of_a_page_come_at_once(settings: Settings, way: Way) -> None:
    """Some find nothing here yet, and then nothing there any more."""
    chosen = replace(settings, moving=replace(settings.moving, way=way))
    for _ in range(10):
        who = signed_in(chosen)

        def visit(number: int, who: Workers = who) -> tuple[Any, bool]:
            session = session_of(chosen, who.id)
            run(chosen.engine(), session.load())
            return session.data.get("user"), session.may_delete_cookie

        assert together(6, visit) == [("ada", False)] * 6
        assert who.seen()[0] == "ada"


def test_an_old_record_that_goes_while_it_is_taken_over_ends_the_session(
    settings: Settings,
) -> None:
    who = signed_in(settings)
    steps = session_of(settings, who.id).load()
    step, engine = next(steps), settings.engine()
    # Up to the moment when ours is there and the old record, too, and nothing is written back yet.
    while not engine.exists(session_of(settings, who.id).keys[0]):
        step = steps.send(step(engine))
    steps.send(step(engine))
    who.end_old()
    assert who.seen() == (None, None)
    steps.close()
    assert who.seen() == (None, None)


def test_rolling_under_load_signs_nobody_out_and_brings_nobody_back(settings: Settings) -> None:
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    everybody = [signed_in(settings) for _ in range(SESSIONS)]
    ended = {who.id: chance.choice(["end_old", "end_new"]) for who in everybody[::2]}
    after = {id: chance.uniform(0, 0.1) for id in ended}

    def works(who: Workers, side: str) -> None:
        for turn in range(1, TURNS):
            getattr(who, side)(turn)

    def ends(who: Workers) -> None:
        time.sleep(after[who.id])  # some moment while the others are at work
        getattr(who, ended[who.id])()

    threads = [
        threading.Thread(target=works, args=(who, side))
        for who in everybody
        for side in ("old", "new", "new")
    ]
    threads += [threading.Thread(target=ends, args=(who,)) for who in everybody[::2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Twice: what one look puts right must stay so.
    for _ in range(2):
        for who in everybody:
            expected = (None, None) if who.id in ended else ("ada", "ada")
            assert who.seen() == expected, (who.id in ended, ended.get(who.id))
