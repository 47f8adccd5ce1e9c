"""While sessions move in, the old engine fails now and then, and ends sessions by itself."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

import pytest

from sessile import web
from sessile.moving import Moving, Old, Way
from sessile.plans import run
from sessile.session import Session, Standing, session_of
from sessile.settings import Settings


class OldEngine:
    """An old engine in memory. The calls that are named in `failing` fail, one after the other."""

    carries = False

    def __init__(self) -> None:
        self.records: dict[str, Old] = {}
        self.failing: list[str] = []
        """What becomes of the next calls: the name of one that fails, "" if that works."""

    def read(self, id: str) -> Old | None:
        self._may_fail("read")
        return self.records.get(id)

    def write(self, id: str, document: dict[Any, Any], seconds: int, new: bool) -> bool:
        self._may_fail("write")
        if not new and id not in self.records:
            return False
        self.records[id] = Old(dict(document), seconds)
        return True

    def remove(self, id: str) -> None:
        self._may_fail("remove")
        self.records.pop(id, None)

    def _may_fail(self, name: str) -> None:
        if self.failing and self.failing.pop(0) == name:
            raise ConnectionError("the old engine is down")


def settings_for(way: Way, **options: Any) -> Settings:
    moving = Moving(OldEngine(), way)
    url = f"memory:moving{secrets.token_hex(4)}"
    return Settings(url, moving=moving, user_of=lambda data: data.get("user", ""), **options)


def signed_in(settings: Settings) -> Session:
    session = session_of(settings, None)
    session.data["user"] = "ada"
    run(settings.engine(), session.save())
    return session


def standing(settings: Settings, id: str | None) -> Standing:
    session = session_of(settings, id)
    run(settings.engine(), session.load())
    return session.standing


def renewing(settings: Settings, session: Session) -> Session:
    """The same session in a request that renews it, and hasn't written yet."""
    again = session_of(settings, session.id)
    run(settings.engine(), again.load())
    again.rotate(hard=True)
    return again


def test_a_renewal_that_can_not_remove_the_old_record_leaves_the_session_its_id() -> None:
    settings = settings_for("move")
    source, session = settings.moving.source, signed_in(settings)
    assert session.id is not None
    # Left over from its being taken over.
    source.records[session.id] = Old({"user": "ada"})
    again = renewing(settings, session)
    source.failing = ["remove"]
    with pytest.raises(ConnectionError):
        run(settings.engine(), again.save())
    assert standing(settings, session.id) is Standing.LIVE
    again = renewing(settings, session)
    run(settings.engine(), again.save())
    assert again.id != session.id and standing(settings, again.id) is Standing.LIVE
    assert source.records == {}, "nothing is left that could bring the old id back"


def test_a_renewal_that_looked_at_nothing_keeps_the_id_as_well() -> None:
    settings = settings_for("move")
    source, session = settings.moving.source, signed_in(settings)
    assert session.id is not None
    source.records[session.id] = Old({"user": "ada"})
    blind = session_of(settings, session.id)
    blind.rotate()
    source.failing = ["remove"]
    with pytest.raises(ConnectionError):
        run(settings.engine(), blind.save())
    assert standing(settings, session.id) is Standing.LIVE


def test_a_renewal_is_told_once_it_counts(caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for("move")
    source, session = settings.moving.source, signed_in(settings)
    again = renewing(settings, session)
    source.failing = ["", "remove"]
    with caplog.at_level(logging.WARNING, "sessile.moving"):
        run(settings.engine(), again.save())
    assert source.failing == [] and "an old record was not removed" in caplog.text
    assert again.id != session.id and standing(settings, again.id) is Standing.LIVE


@pytest.mark.parametrize("failing", ["remove", "write"])
def test_a_renewal_is_told_though_the_mirror_fails(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    settings = settings_for("mirror")
    source, session = settings.moving.source, signed_in(settings)
    again = renewing(settings, session)
    source.failing = [failing] if failing == "remove" else ["", failing]
    with caplog.at_level(logging.WARNING, "sessile.moving"):
        run(settings.engine(), again.save())
    said = "not removed" if failing == "remove" else "not written"
    assert source.failing == [] and f"an old record was {said}: ConnectionError" in caplog.text
    assert again.tells_cookie and again.written_id == again.id != session.id
    assert session.id is not None and again.id is not None
    assert standing(settings, again.id) is Standing.LIVE
    assert source.records[again.id].document["user"] == "ada", "the next look has written it"
    assert standing(settings, session.id) is not Standing.LIVE
    # Also once nobody remembers here that the old id was replaced.
    engine: Any = settings.engine()
    clock = engine._clock
    monkeypatch.setattr(engine, "_clock", lambda: clock() + 61_000)
    assert standing(settings, session.id) is Standing.NEW
    assert source.records.keys() == {again.id}


def test_a_mirrored_session_that_an_old_worker_ended_is_not_there() -> None:
    settings = settings_for("mirror")
    source, session = settings.moving.source, signed_in(settings)
    look = session_of(settings, session.id).exists
    assert run(settings.engine(), look(session.id))
    source.remove(session.id)
    assert not run(settings.engine(), look(session.id))
    assert standing(settings, session.id) is Standing.NEW


def test_an_id_that_was_renewed_stands_for_its_session_while_mirrored() -> None:
    settings = settings_for("mirror", grace=30)
    session = signed_in(settings)
    again = session_of(settings, session.id)
    run(settings.engine(), again.load())
    again.rotate()
    run(settings.engine(), again.save())
    assert again.id != session.id
    for id in (session.id, again.id):
        assert run(settings.engine(), session_of(settings, id).exists(id))


def test_a_socket_is_watched_on_when_the_old_engine_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings_for("move")
    source, session = settings.moving.source, signed_in(settings)
    run(settings.engine(), Session(settings, session.id).end())
    assert session.id is not None
    source.records[session.id] = Old({"user": "ada"})
    source.failing = ["read", "read"]

    async def watched() -> None:
        watch = asyncio.ensure_future(web.ended(session_of(settings, session.id), 0.01))
        while source.failing:
            assert not watch.done()
            await asyncio.sleep(0.01)
        assert not watch.done()
        source.records.clear()
        await watch
        await settings.async_engine().close()

    with caplog.at_level(logging.WARNING, "sessile"):
        asyncio.run(asyncio.wait_for(watched(), 60))
    assert caplog.text.count("was not looked for: ConnectionError") == 2
