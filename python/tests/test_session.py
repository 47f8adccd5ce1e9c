"""`sessile.session`: what one request asks of the store, and what it never does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sessile.errors import DocumentError, SessionConflict, SessionGone, SessionUnavailable
from sessile.memory import MemoryEngine
from sessile.paths import show
from sessile.plans import arun, run
from sessile.ruled import Async
from sessile.session import Action, Session, Standing
from sessile.session_state import State
from sessile.settings import Expiry, Settings, read
from sessile.web import closing, told

SETTINGS = Settings(url="memory:", user_of=lambda document: str(document.get("_user", "")))


class Counted:
    """An engine that notes which operations were asked of it."""

    def __init__(self, engine: Any, fails: bool = False) -> None:
        self.engine, self.calls, self.fails = engine, [], fails

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        if self.fails:
            raise SessionUnavailable("no answer")
        return getattr(self.engine, name)

    def asked(self) -> list[str]:
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def engine() -> Counted:
    return Counted(MemoryEngine())


def opened(engine: Any, settings: Settings = SETTINGS, **document: Any) -> Session:
    """A session that another request made, as a new request loads it."""
    made = Session(settings)
    made.data.update(document)
    run(engine, made.finish())
    session = Session(settings, made.id)
    run(engine, session.load())
    engine.asked()
    return session


def test_what_the_store_told_is_forgotten_and_nothing_else() -> None:
    """A new attribute belongs to one side or the other."""
    mark = object()
    state = State(Settings("memory:"))
    names = [name for name, value in vars(State).items() if is_data(name, value)]
    for name in names:
        setattr(state, name, mark)
    state._forget()
    assert {name for name in names if getattr(state, name) is mark} == {
        *("accessed", "changed", "answered", "failure", "device", "rotates_hard"),
        *("_next", "_key", "_settled", "_renewing", "_told"),
    }
    assert vars(state).keys() - set(names) == vars(State(Settings("memory:"))).keys()


def is_data(name: str, value: object) -> bool:
    return not (
        name.startswith("__") or name == "_STORED" or callable(value) or hasattr(value, "fget")
    )


def test_untouched_asks_nothing(engine: Counted) -> None:
    session = Session(SETTINGS, "a" * 32)
    assert run(engine, session.finish()) is Action.NOTHING
    assert engine.asked() == []
    assert not session.may_set_cookie
    assert not session.may_delete_cookie


@pytest.mark.parametrize(
    "bad",
    ["", "short", "a" * 31, "a" * 33, "A" * 32, "é" * 32, "a" * 31 + "\n", "*" * 32, "x" * 10_000],
)
def test_a_bad_id_sends_nothing(engine: Counted, bad: str) -> None:
    session = Session(SETTINGS, bad)
    run(engine, session.load())
    assert engine.asked() == []
    assert session.data == {}
    assert session.id is None
    assert not run(engine, session.exists(bad))
    assert engine.asked() == []


def test_an_unknown_id_is_not_adopted(engine: Counted) -> None:
    session = Session(SETTINGS, "a" * 32)
    run(engine, session.load())
    assert session.may_delete_cookie
    session.data["x"] = 1
    assert run(engine, session.finish()) is Action.CREATE
    assert session.id != "a" * 32
    assert engine.asked() == ["load", "create"]


def test_reading_is_one_operation_and_writes_nothing(engine: Counted) -> None:
    session = opened(engine, x=1)
    assert session.data == {"x": 1}
    assert run(engine, session.finish()) is Action.NOTHING
    assert engine.asked() == []


def test_a_change_inside_is_found_by_comparing(engine: Counted) -> None:
    session = opened(engine, cart={"apple": [1, 2]})
    session.data["cart"]["apple"].append(3)
    assert session.modified
    assert run(engine, session.finish()) is Action.SAVE
    assert engine.asked() == ["save"]
    assert not session.modified


def test_parallel_changes_of_different_leaves_both_stay(engine: Counted) -> None:
    first = opened(engine, cart={"apple": 1})
    second = Session(SETTINGS, first.id)
    run(engine, second.load())
    first.data["cart"]["pear"] = 2
    second.data["cart"]["plum"] = 3
    del second.data["cart"]["apple"]
    run(engine, first.finish())
    run(engine, second.finish())
    third = Session(SETTINGS, first.id)
    run(engine, third.load())
    assert third.data == {"cart": {"pear": 2, "plum": 3}}


def test_intents_add_up_without_loading(engine: Counted) -> None:
    made = opened(engine, hits=1, seen=["a"])
    for _ in range(2):
        session = Session(SETTINGS, made.id)
        session.incr(["hits"], 2)
        session.push(["seen"], "b", trim=2)
        session.init(["first"], "yes")
        assert run(engine, session.finish()) is Action.SAVE
        assert engine.asked() == ["save"]
    session = Session(SETTINGS, made.id)
    run(engine, session.load())
    assert session.data == {"hits": 5, "seen": ["b", "b"], "first": "yes"}


def test_a_number_is_only_added_to_a_number(engine: Counted) -> None:
    session = Session(SETTINGS, opened(engine, cart={"pear": 1}, word="a").id)
    run(engine, session.load())
    for path in (["cart"], ["word"], ["cart", "plum"]):
        if path == ["cart", "plum"]:
            session.data["cart"]["plum"] = ["a"]
        with pytest.raises(DocumentError, match="is not a number") as told:
            session.incr(path)
        assert str(told.value).startswith(show(tuple(path)))
    # What was refused is not written either.
    session.incr(["cart", "pear"])
    run(engine, session.save())
    again = Session(SETTINGS, session.id)
    run(engine, again.load())
    assert again.data == {"cart": {"pear": 2, "plum": ["a"]}, "word": "a"}


def test_tasks_that_save_one_session_at_once_send_what_is_theirs(engine: Counted) -> None:
    made = opened(engine, hits=0, seen=[])
    for loads in (True, False):
        session = Session(SETTINGS, made.id)
        if loads:
            run(engine, session.load())
        plans, steps = [], []
        for _ in range(3):
            session.incr(["hits"])
            session.push(["seen"], "x")
            plans.append(session.save())
            steps.append(next(plans[-1]))
        session.incr(["hits"])
        for plan, step in zip(plans, steps, strict=True):
            with pytest.raises(StopIteration):
                plan.send(step(engine))
        assert session.modified
        assert run(engine, session.finish()) is Action.SAVE
        assert run(engine, session.finish()) is Action.NOTHING
    session = Session(SETTINGS, made.id)
    run(engine, session.load())
    assert session.data == {"hits": 8, "seen": ["x"] * 6}


def test_a_save_without_reading_deletes_nothing_of_the_one_before(engine: Counted) -> None:
    session = Session(SETTINGS, opened(engine, hits=0, seen=[], cart={"apple": 1}).id)
    for _ in range(2):
        session.incr(["hits"])
        session.push(["seen"], "x")
        session.replace(["cart"], {"pear": 1})
        run(engine, session.save())
        session.incr(["hits"])
        run(engine, session.save())
    run(engine, session.load())
    assert session.data == {"hits": 4, "seen": ["x", "x"], "cart": {"pear": 1}}


@pytest.mark.parametrize("loads", [True, False])
def test_what_could_not_be_saved_is_saved_by_the_next_try(engine: Counted, loads: bool) -> None:
    session = Session(SETTINGS, opened(engine, hits=1, cart={"apple": 1}).id)
    if loads:
        run(engine, session.load())
        session.data["cart"]["pear"] = 2
    session.incr(["hits"])
    session.incr(["by", "day"])
    plan = session.save()
    next(plan)
    session.incr(["hits"], 2)
    session.incr(["by", "hour"])
    with pytest.raises(SessionUnavailable):
        plan.throw(SessionUnavailable("no answer"))
    assert session.modified
    assert run(engine, session.finish()) is Action.SAVE
    after = Session(SETTINGS, session.id)
    run(engine, after.load())
    cart = {"apple": 1, "pear": 2} if loads else {"apple": 1}
    assert after.data == {"hits": 4, "cart": cart, "by": {"day": 1, "hour": 1}}


def test_intents_before_a_load_are_seen_after_it(engine: Counted) -> None:
    made = opened(engine, hits=1, seen=["a"], cart={"apple": 1}, old={"x": 1})
    session = Session(SETTINGS, made.id)
    session.incr(["hits"])
    session.push(["seen"], "b")
    session.init(["hits"], 7)
    session.replace(["cart"], {"pear": 1})
    session.delete(["old"])
    run(engine, session.load())
    wanted = {"hits": 2, "seen": ["a", "b"], "cart": {"pear": 1}}
    assert session.data == wanted
    run(engine, session.finish())
    run(engine, (again := reloaded(made)).load())
    assert again.data == wanted


def test_intents_for_an_expired_session_make_a_new_one(engine: Counted) -> None:
    session = Session(SETTINGS, "a" * 32)
    session.push(["messages"], "hello")
    session.replace(["cart"], {"pear": 1})
    assert run(engine, session.finish()) is Action.CREATE
    assert session.id != "a" * 32
    assert engine.asked() == ["save", "load", "create"]
    run(engine, (again := reloaded(session)).load())
    assert again.data == {"messages": ["hello"], "cart": {"pear": 1}}


def test_intents_show_in_the_same_request(engine: Counted) -> None:
    session = opened(engine, hits=1)
    session.incr(["hits"])
    session.push(["seen"], "a")
    assert session.data == {"hits": 2, "seen": ["a"]}
    run(engine, session.finish())
    assert not session.modified
    session.incr(["hits"])
    run(engine, session.finish())
    assert run(engine.engine, reloaded(session).load()) is None


def reloaded(session: Session) -> Session:
    return Session(session.settings, session.id)


def test_rotation_is_one_operation_with_the_patch(engine: Counted) -> None:
    session = opened(engine, cart={"apple": 1})
    old = session.id
    new = session.rotate()
    assert session.id == new != old
    assert not run(engine, session.exists(old))
    session.data["_user"] = "7"
    engine.asked()
    assert run(engine, session.finish()) is Action.ROTATE
    assert engine.asked() == ["rotate"]
    assert session.user == "app:7"
    late = Session(SETTINGS, old)
    run(engine, late.load())
    assert late.standing is Standing.ROTATED
    assert late.data == {}
    assert not late.may_delete_cookie
    assert run(engine, late.finish()) is Action.NOTHING
    late.data["x"] = 1
    with pytest.raises(SessionConflict):
        run(engine, late.finish())
    assert not late.may_set_cookie


def test_a_new_user_gets_a_new_id_unasked(engine: Counted) -> None:
    session = opened(engine, x=1)
    old = session.id
    session.data["_user"] = "7"
    assert run(engine, session.finish()) is Action.ROTATE
    assert session.id != old
    assert engine.asked() == ["rotate"]


def test_a_second_sign_in_with_the_old_id_gets_a_session(engine: Counted) -> None:
    first = opened(engine, x=1)
    second, third = reloaded(first), reloaded(first)
    run(engine, second.load())
    for session in (first, second):
        session.rotate()
        session.data["_user"] = "7"
        run(engine, session.finish())
        assert session.may_set_cookie
    run(engine, third.load())
    assert third.standing is Standing.ROTATED
    third.data["_user"] = "7"
    assert run(engine, third.finish()) is Action.CREATE
    assert len(engine.engine.sessions_of("app:7")) == 3


def test_a_renewed_id_of_one_user_works_for_its_grace_but_sets_no_cookie(engine: Counted) -> None:
    settings = replace(SETTINGS, grace=10)
    session = opened(engine, settings, _user="7", x=1)
    late = reloaded(session)
    session.rotate()
    run(engine, session.finish())
    assert session.may_set_cookie
    run(engine, late.load())
    assert late.data["x"] == 1
    assert not late.may_set_cookie
    late.data["y"] = 2
    assert run(engine, late.finish()) is Action.SAVE
    assert not late.may_set_cookie
    again = reloaded(session)
    run(engine, again.load())
    assert again.data == {"_user": "7", "x": 1, "y": 2}
    assert again.may_set_cookie


def test_a_save_that_came_by_a_renewed_id_sets_no_cookie_and_others_do(engine: Counted) -> None:
    settings = replace(SETTINGS, grace=10)
    session = opened(engine, settings, _user="7", x=1)
    alone, other, late, toucher, blind = (reloaded(session) for _ in range(5))
    for each in (alone, other, late, toucher):
        run(engine, each.load())
    engine.asked()
    # Nobody else changed anything.
    alone.data["a"] = 1
    assert run(engine, alone.finish()) is Action.SAVE
    assert alone.may_set_cookie
    assert engine.asked() == ["save"]
    # Somebody did, under the same id.
    other.data["b"] = 1
    assert run(engine, other.finish()) is Action.SAVE
    assert other.may_set_cookie
    assert engine.asked() == ["save", "save", "load"]
    # The id was replaced.
    run(engine, session.load())
    session.rotate()
    run(engine, session.finish())
    engine.asked()
    late.data["c"] = 1
    assert run(engine, late.finish()) is Action.SAVE
    assert not late.may_set_cookie
    assert engine.asked() == ["save", "save", "load"]
    assert run(engine, toucher.save()) is Action.TOUCH
    assert not toucher.may_set_cookie
    blind.incr(["n"])
    assert run(engine, blind.save()) is Action.SAVE
    assert not blind.may_set_cookie
    again = reloaded(session)
    run(engine, again.load())
    assert again.data == {"_user": "7", "x": 1, "a": 1, "b": 1, "c": 1, "n": 1}
    assert again.may_set_cookie


def test_of_tasks_that_begin_or_renew_a_session_at_once_one_does(engine: Counted) -> None:
    session = Session(SETTINGS)
    session.data["a"] = 1
    for turn in range(2):
        if turn:
            session.rotate()
        # One task waits for the store when the other one comes.
        first = session.save()
        asked = next(first)
        with pytest.raises(SessionConflict, match="another task"):
            run(engine, session.save())
        with pytest.raises(StopIteration):
            first.send(asked(engine))
        session.data["b"] = turn
        run(engine, session.save())
    assert engine.asked() == ["create", "save", "rotate", "save"]
    session = reloaded(session)
    run(engine, session.load())
    assert session.data == {"a": 1, "b": 1}
    # A task that was cancelled meanwhile holds nobody up.
    session.rotate()
    cancelled = session.save()
    next(cancelled)
    cancelled.close()
    assert run(engine, session.save()) is Action.ROTATE


def test_what_ended_never_comes_back(engine: Counted) -> None:
    session = opened(engine, x=1)
    other = reloaded(session)
    run(engine, other.flush())
    assert engine.asked() == ["end"]
    assert other.may_delete_cookie
    session.data["x"] = 2
    with pytest.raises(SessionGone):
        run(engine, session.finish())
    session.rotate()
    with pytest.raises(SessionGone):
        run(engine, session.finish())


def test_a_sign_out_under_an_id_that_was_replaced_meanwhile_is_refused(engine: Counted) -> None:
    # The session goes on under the new id: to say that it has ended would be wrong.
    session = opened(engine, x=1)
    other = reloaded(session)
    run(engine, other.load())
    other.rotate(hard=True)
    run(engine, other.finish())
    engine.asked()
    with pytest.raises(SessionConflict):
        run(engine, session.flush())
    assert engine.asked() == ["end", "load"]
    assert not session.may_delete_cookie
    run(engine, other.flush())
    run(engine, other.flush())
    run(engine, (gone := reloaded(session)).flush())
    assert gone.may_delete_cookie


@pytest.mark.parametrize("ends", ["flush", "rotate"])
def test_what_comes_too_late_to_be_written_is_a_conflict_of_the_response(
    engine: Counted, ends: str
) -> None:
    late = opened(engine, x=1)
    unchanged, other = reloaded(late), reloaded(late)
    for session in (unchanged, other):
        run(engine, session.load())
    if ends == "flush":
        run(engine, other.flush())
    else:
        other.rotate(hard=True)
        run(engine, other.finish())
    late.data["y"] = 2
    with pytest.raises(SessionConflict):
        run(engine, closing(late, 200))
    run(engine, closing(unchanged, 200))
    assert not told(unchanged, 200)


def test_a_clear_removes_what_was_not_seen(engine: Counted) -> None:
    made = opened(engine, x=1, y={"z": 1})
    session = reloaded(made)
    session.clear()
    session.data["k"] = 1
    run(engine, session.finish())
    assert engine.asked() == ["save"]
    run(engine, (again := reloaded(made)).load())
    assert again.data == {"k": 1}


def test_a_rotation_of_what_is_not_there_makes_a_new_session(engine: Counted) -> None:
    session = Session(SETTINGS, "a" * 32)
    chosen = session.rotate()
    assert run(engine, session.finish()) is Action.CREATE
    assert session.id == chosen
    assert run(engine, session.exists(chosen))
    made = opened(engine, x=1)
    run(engine, made.flush())
    made.rotate()
    made.data["x"] = 2
    assert run(engine, made.finish()) is Action.CREATE


def test_asvs_16_2_5_life_cycle_is_logged_without_ids(
    engine: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sessile.sessions")
    session = opened(engine, x=1)
    ids = [session.id]
    session.data["_user"] = "7"
    run(engine, session.finish())
    ids.append(session.id)
    run(engine, Session(SETTINGS, ids[0]).load())
    run(engine, session.flush())
    run(engine, Session(SETTINGS, ids[1]).load())
    broken = Counted(engine.engine, fails=True)
    with pytest.raises(SessionUnavailable):
        run(broken, Session(SETTINGS, ids[1]).load())
    words = [record.getMessage().split()[2] for record in caplog.records]
    assert words == ["created", "rotated", "replaced", "ended", "unknown", "not"]
    assert not any(id and id in caplog.text for id in ids)


def test_strict_conflicts(engine: Counted) -> None:
    settings = replace(SETTINGS, strict=True)
    first = opened(engine, settings, x=1)
    second = reloaded(first)
    run(engine, second.load())
    first.data["x"], second.data["x"] = 2, 3
    run(engine, first.finish())
    with pytest.raises(SessionConflict):
        run(engine, second.finish())
    first.data["x"] = 4
    run(engine, first.finish())


def test_an_outage_is_an_error_or_reads_as_nobody(engine: Counted) -> None:
    made = opened(engine, _user="7")
    broken = Counted(engine.engine, fails=True)
    session = reloaded(made)
    with pytest.raises(SessionUnavailable):
        run(broken, session.load())
    assert isinstance(session.failure, SessionUnavailable)
    session = Session(replace(SETTINGS, outage="anonymous"), made.id)
    run(broken, session.load())
    assert session.data == {}
    assert not session.may_delete_cookie
    assert run(broken, session.finish()) is Action.NOTHING
    session.data["x"] = 1
    with pytest.raises(SessionUnavailable):
        run(broken, session.finish())
    with pytest.raises(SessionUnavailable):
        run(broken, session.flush())
    assert not session.may_set_cookie
    assert not session.may_delete_cookie


def test_expiry_becomes_life() -> None:
    engine = MemoryEngine()
    settings = replace(
        SETTINGS,
        idle=100,
        maximum=1000,
        expiry_of=lambda document: document.get("_when", Expiry()),
    )
    session = Session(settings)
    life = session._life(fresh=True)
    assert (life.idle, life.maximum, life.expires_at) == (100, 1000, None)
    session.data["_when"] = Expiry(idle=5)
    assert session._life(fresh=True).idle == 5
    session.data["_when"] = Expiry(at=1)
    assert session._life(fresh=True).expires_at == 1
    session.data["_when"] = Expiry(at=2**60)
    life = session._life(fresh=True)
    assert life.idle == 0
    assert life.expires_at is not None
    assert life.expires_at < 2**50
    assert engine is not None


def test_old_id_keys_still_open_sessions(engine: Counted) -> None:
    before = replace(SETTINGS, id_keys=(b"a" * 16,))
    made = opened(engine, before, x=1)
    after = replace(SETTINGS, id_keys=(b"b" * 16, b"a" * 16))
    session = Session(after, made.id)
    run(engine, session.load())
    assert session.data == {"x": 1}
    session.data["x"] = 2
    run(engine, session.finish())
    assert engine.asked() == ["load", "load", "save"]
    unread = Session(after, made.id)
    unread.incr(["x"])
    run(engine, unread.finish())
    unread = Session(after, made.id)
    run(engine, unread.flush())
    assert run(engine, Session(before, made.id).exists(made.id)) is False


def test_sliding_reads_renew_the_cookie_after_a_while() -> None:
    moment = 10**12
    engine = MemoryEngine(clock=lambda: moment)
    settings = replace(SETTINGS, slide=True, idle=1000)
    made = Session(settings)
    made.data["x"] = 1
    run(engine, made.finish())
    session = reloaded(made)
    run(engine, session.load())
    assert not session.wants_cookie
    assert run(engine, session.finish()) is Action.NOTHING


def test_async_is_the_same(engine: Counted) -> None:
    async def request() -> None:
        face = Async(engine.engine, waits=False)
        session = Session(SETTINGS)
        session.data["x"] = 1
        assert await arun(face, session.finish()) is Action.CREATE
        again = reloaded(session)
        await arun(face, again.load())
        assert again.data == {"x": 1}
        await arun(face, again.flush())
        assert not await arun(face, again.exists(session.id))

    asyncio.run(request())


def test_settings_are_checked() -> None:
    given = {"SESSILE_URL": "memory:", "SESSILE_NAMESPACE": "shop", "SESSILE_LIMIT": 3}
    settings = read(given.get, idle=5)
    assert (settings.url, settings.prefix, settings.limit) == ("memory:", b"sessile:shop:", 3)
    assert settings.user("7") == "shop:7"
    bad = {
        "SESSILE_NAMESPACE": "a b",
        "SESSILE_ID_KEYS": ["short"],
        "SESSILE_MAX_AGE": -1,
        "SESSILE_SLIDE": "yes",
        "SESSILE_ATOMIC": [1],
        "SESSILE_READ_OUTAGE": "ignore",
    }
    for name, value in bad.items():
        with pytest.raises(ValueError, match=name):
            read({"SESSILE_URL": "memory:", name: value}.get)
