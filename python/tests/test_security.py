"""The security checklist (see checklist.py), on each framework and on each kind of store.

Names of tests begin with the ids of the requirements. What is asked of a browser's side, cookies,
caches and outages, is in test_security_http.py; what only Django has in test_django_security.py.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pymemcache
import pytest
import redis

from sessile import ConfigurationError, ids
from sessile.ids import DJANGO, URL_SAFE, Shape, handle, new_id
from sessile.plans import run
from sessile.session import Session
from sessile.settings import read
from sessile.urls import open_engine
from sites import FRAMEWORKS, PLACES, Place, Site, place_of, site_of
from stores import World, together


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, world: World) -> Iterator[Place]:
    """Each kind of store behind a proxy."""
    with place_of(request.param, world) as found:
        yield found


@pytest.fixture(params=FRAMEWORKS)
def site(request: pytest.FixtureRequest, place: Place) -> Iterator[Site]:
    """Each framework on each kind of store."""
    with site_of(request.param, place) as found:
        yield found


def test_asvs_7_2_1_an_altered_or_unknown_id_is_nobodys(site: Site) -> None:
    id = site.id_after("sign_in?name=ada")
    first = "b" if id[0] != "b" else "c"
    stored = handle(id, site.browser.settings.namespace).decode()
    key = site.browser.key().decode()
    altered = [first + id[1:], id[::-1], id.swapcase(), id + "a", id[:-1], ""]
    for bad in [*altered, stored, stored[: len(id)], stored[-len(id) :], key]:
        assert site.whose(bad) == ""
    assert site.whose(id) == "ada"


MILLION = 1_000_000
# Chi-square of as many letters as it has degrees of freedom and one: beyond these once in ten
# million runs by chance.
SHAPES = {"django": (DJANGO, 100), "url-safe": (URL_SAFE, 145)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", SHAPES)
def test_asvs_7_2_3_a_million_ids_are_all_different_and_evenly_drawn(shape: str) -> None:
    letters, most = SHAPES[shape][0].alphabet, SHAPES[shape][1]
    length = SHAPES[shape][0].length
    made, counts = set(), Counter[str]()
    for _ in range(MILLION // 10_000):
        some = [new_id(letters, length) for _ in range(10_000)]
        made.update(some)
        counts.update("".join(some))
    assert len(made) == MILLION
    assert counts.keys() == set(letters)
    expected = MILLION * length / len(letters)
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < most


def test_asvs_7_2_3_each_letter_comes_from_the_systems_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[bytes] = []

    def recorded(count: int) -> bytes:
        drawn.append(os.urandom(count))
        return drawn[-1]

    monkeypatch.setattr(ids.secrets, "token_bytes", recorded)
    first = new_id()
    assert sum(map(len, drawn)) >= 32
    # The same bytes give the same id: there is no other source, and nothing else goes in.
    again = iter(list(drawn))
    monkeypatch.setattr(ids.secrets, "token_bytes", lambda count: next(again))
    assert new_id() == first


def test_asvs_7_2_3_ids_of_every_framework_have_128_bits_and_that_source(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    plain = ids.secrets.token_bytes
    monkeypatch.setattr(
        ids.secrets, "token_bytes", lambda count: drawn.append(count) or plain(count)
    )
    shape = site.browser.settings.shape
    for path in ("change", "cycle", "sign_in?name=ada"):
        drawn.clear()
        id = site.id_after(path)
        assert shape.fits(id)
        assert sum(drawn) >= 16
        assert len(id) >= 22
    with pytest.raises(ConfigurationError, match="guessed"):
        Shape("0123456789abcdef", 32)


ELSEWHERE = "from sessile.ids import new_id; print(' '.join(new_id() for _ in range(20)))"


def test_asvs_11_5_1_forks_and_new_processes_have_ids_of_their_own() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, " ".join(new_id() for _ in range(20)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        made = pipe.read().split()
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(2):
        command = [sys.executable, "-c", ELSEWHERE]
        made += subprocess.check_output(command, env=environment, text=True).split()
    made += [new_id() for _ in range(20)]
    assert len(made) == len(set(made)) == 80


def test_asvs_7_2_4_a_sign_in_gives_another_id_and_the_old_one_is_dead(site: Site) -> None:
    planted = site.id_after("change")  # what an attacker has put into the victim's browser
    first = site.id_after("sign_in?name=ada")
    assert first != planted
    assert site.whose(planted) == ""
    assert site.whose(first) == "ada"
    second = site.id_after("sign_in?name=grace")
    assert len({planted, first, second}) == 3
    assert [site.whose(id) for id in (planted, first, second)] == ["", "", "grace"]


def test_asvs_7_2_4_the_new_id_and_the_end_of_the_old_are_one_step_under_100_requests(
    place: Place,
) -> None:
    url = place.url("timeout=20&pool_wait=20&pool=100")
    settings = read({"SESSILE_URL": url}.get, user_of=lambda document: document.get("user", ""))
    engine = open_engine(url)
    made = Session(settings)
    made.data["cart"] = "full"
    run(engine, made.finish())

    def one(number: int) -> dict[str, Any]:
        session = Session(settings, made.id)
        run(engine, session.load())
        if number == 0:
            session.data["user"] = "ada"
            run(engine, session.finish())
            return {"id": session.id}
        return dict(session.data)

    try:
        signed_in, *seen = together(100, one)
        # The session as it was before, or none; the signed-in one never.
        assert all(document in ({}, {"cart": "full"}) for document in seen)
        late = Session(settings, made.id)
        run(engine, late.load())
        assert late.data == {}
        new = Session(settings, signed_in["id"])
        run(engine, new.load())
        assert new.data == {"cart": "full", "user": "ada"}
    finally:
        engine.close()


def test_cs_strict_mode_an_id_that_nobody_issued_is_never_taken_over(site: Site) -> None:
    shape = site.browser.settings.shape
    for chosen in (shape.alphabet[0] * shape.length, new_id(shape.alphabet, shape.length)):
        for path in ("change", "sign_in?name=ada", "cycle"):
            site.browser.id = chosen
            site.browser.get(path)
            assert site.browser.id != chosen
        engine = site.browser.settings.engine()
        assert not engine.exists(Session(site.browser.settings, chosen).keys[0])


HOSTILE: dict[str, Callable[[Shape], str]] = {
    "10 kB": lambda shape: "x" * 10_000,
    "CR LF": lambda shape: "a" * (shape.length - 2) + "\r\n",
    "LF at the end": lambda shape: "a" * shape.length + "\n",
    "NUL": lambda shape: "a" * (shape.length - 1) + "\0",
    "a star": lambda shape: "*" * shape.length,
    "a pattern": lambda shape: "a?[b]*" + "c" * (shape.length - 6),
    "umlauts": lambda shape: "ä" * shape.length,
    "snowmen": lambda shape: "\N{SNOWMAN}" * shape.length,
    "other digits": lambda shape: "\N{ARABIC-INDIC DIGIT FOUR}" * shape.length,
    "a path": lambda shape: ("../" * shape.length)[: shape.length],
    "a space": lambda shape: "a " + "a" * (shape.length - 2),
    "a command": lambda shape: "\r\nflush_all\r\n".ljust(shape.length, "a"),
    "too short": lambda shape: "a" * (shape.length - 1),
    "nothing": lambda shape: "",
}


@pytest.fixture(params=FRAMEWORKS)
def site_on_redis(request: pytest.FixtureRequest, world: World) -> Iterator[Site]:
    with place_of("redis", world) as place, site_of(request.param, place) as found:
        yield found


@pytest.mark.parametrize("bad", HOSTILE)
def test_cs_any_input_that_cannot_be_an_id_sends_no_byte_to_the_store(
    site_on_redis: Site, bad: str
) -> None:
    site = site_on_redis
    value = HOSTILE[bad](site.browser.settings.shape)
    assert not site.browser.settings.shape.fits(value)
    for cookie in {value if sendable(value) else quoted(value), quoted(value)}:
        for path in ("read", "nothing", "sign_out"):
            headers = {"Cookie": f"{site.browser.cookie_name}={cookie}"}
            assert site.browser.ask(f"/{path}", headers).status == 200
    assert bytes(site.place.heard) == b""


def sendable(value: str) -> bool:
    """Whether a header can carry it as it is."""
    return value.isascii() and value.isprintable()


def quoted(value: str) -> str:
    """As a cookie can carry anything: octal numbers in quotes, which frameworks understand."""
    return '"' + "".join(f"\\{byte:03o}" for byte in value.encode()) + '"'


def test_asvs_7_4_1_after_a_sign_out_nothing_opens_the_session(site: Site) -> None:
    id = site.id_after("sign_in?name=ada")
    late = Session(site.browser.settings, id)
    engine = site.browser.settings.engine()
    run(engine, late.load())
    late.data["late"] = True
    site.browser.get("sign_out")
    assert site.browser.id is None
    assert site.whose(id) == ""
    with pytest.raises(Exception, match=r"ended|another id"):
        run(engine, late.finish())
    assert site.whose(id) == ""


def test_asvs_14_2_1_no_id_is_taken_from_a_url(site: Site) -> None:
    id = site.id_after("sign_in?name=ada")
    asked = "&".join(f"{name}={id}" for name in ("session", "sessionid", "session_id", "sid"))
    answer = site.browser.ask(f"/read?{asked}", {})
    assert "ada" not in answer.text
    assert id not in answer.text
    assert answer.cookies == []


EXPLODED: list[str] = []


def explode() -> None:
    EXPLODED.append("boom")


class Bomb:
    """Notes in EXPLODED that it was unpickled."""

    def __reduce__(self) -> Any:
        return explode, ()


def test_asvs_1_5_2_nothing_in_the_store_is_executed(site: Site) -> None:
    assert pickle.loads(pickle.dumps(Bomb())) is None  # it works
    assert EXPLODED.pop() == "boom"
    id, key = site.id_after("sign_in?name=ada"), site.browser.key()
    poison = pickle.dumps(Bomb())
    port = site.place.proxy.target
    headers = {"Cookie": f"{site.browser.cookie_name}={id}"}
    if site.place.kind == "memcached":
        client = pymemcache.Client(("127.0.0.1", port))
        assert client.get(key) is not None
        assert client.set(key, poison, noreply=False)
        answer = site.browser.ask("/read", headers)
        assert '"ada"' not in answer.text
        client.close()
    else:
        with redis.Redis(port=port) as store:
            assert store.type(key) == b"hash"
            store.hset(key, b"bomb", poison)
            store.hset(key, b"hits", poison)
            answer = site.browser.ask("/read", headers)
            store.hdel(key, b"bomb", b"hits")
        assert site.whose(id) == "ada"
    assert answer.status in (200, 500, 503)
    assert EXPLODED == []


def test_asvs_1_3_9_what_a_client_chooses_is_never_part_of_a_command(site: Site) -> None:
    settings = site.browser.settings
    engine = settings.engine()
    session = Session(settings, site.id_after("change"))
    run(engine, session.load())
    evil = "x\r\nflush_all\r\nset y 0 0 1\r\nz\r\n*1\r\n$8\r\nFLUSHALL\r\n \0"
    user = "_auth_user_id" if site.framework == "django" else "_user_id"
    session.data.update({evil: evil, user: evil, "after": 1})
    before = site.browser.key()
    run(engine, session.finish())
    assert not engine.exists(before)
    again = Session(settings, session.id)
    run(engine, again.load())
    assert again.data[evil] == evil
    assert again.data["after"] == 1
    assert set(site.place.proxy.take()) & {"FLUSHALL", "flush_all", "set"} == set()
    (key,) = again.keys
    assert key.isascii()
    assert len(key) <= 250
    assert not set(key) & {*range(33), 127, *b"*?["}


@pytest.mark.parametrize("bad", ["a b", "a\r\nflush_all", "a\0", "é", "*", "a" * 65, ""])
def test_asvs_1_3_9_a_namespace_that_no_key_can_hold_is_refused(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="SESSILE_NAMESPACE"):
        read({"SESSILE_URL": "memory:", "SESSILE_NAMESPACE": bad}.get)


def test_asvs_7_4_3_other_sessions_can_be_ended_and_this_one_kept(site: Site) -> None:
    settings = site.browser.settings
    engine, mine = settings.engine(), []
    for _ in range(3):
        site.browser.id = None
        mine.append(site.id_after("sign_in?name=ada"))
    user = user_in_store(site, mine[0])
    if site.place.kind == "memcached":
        with pytest.raises(Exception, match="memcached"):
            engine.end_all(user, keep=site.browser.key())
        assert [site.whose(id) for id in mine] == ["ada"] * 3  # nothing is pretended
        return
    assert engine.end_all(user, keep=site.browser.key()) >= 2
    assert [site.whose(id) for id in mine] == ["", "", "ada"]


def test_asvs_7_5_2_a_users_sessions_can_be_listed_and_each_ended(site: Site) -> None:
    if site.place.kind == "memcached":
        pytest.skip("memcached has no index of users: NotSupported, see 7.4.3")
    engine = site.browser.settings.engine()
    id = site.id_after("sign_in?name=ada")
    engine.end_all(user_in_store(site, id))
    site.browser.id = None
    first, first_key = site.id_after("sign_in?name=ada"), site.browser.key()
    site.browser.id = None
    second, second_key = site.id_after("sign_in?name=ada"), site.browser.key()
    rows = {row.key: row for row in engine.sessions_of(user_in_store(site, first))}
    assert rows.keys() == {first_key, second_key}
    for row in rows.values():
        assert 0 < row.created <= row.last_seen
    assert engine.end(first_key) == 1
    assert [site.whose(id) for id in (first, second)] == ["", "ada"]
    assert [row.key for row in engine.sessions_of(user_in_store(site, second))] == [second_key]


def user_in_store(site: Site, id: str) -> str:
    """The name that the store lists a session's user by."""
    settings = site.browser.settings
    session = Session(settings, id)
    run(settings.engine(), session.load())
    return settings.user(settings.user_of(session.data))


def test_asvs_15_4_1_requests_at_the_same_time_lose_nothing(site: Site) -> None:
    if site.framework == "django":
        pytest.skip("held at a barrier in test_django_security.py and test_django_races.py")
    site.id_after("nested?first")
    other = Session(site.browser.settings, site.browser.id)
    engine = site.browser.settings.engine()

    def meanwhile() -> None:
        run(engine, other.load())
        other.data["cart"]["other"] = 1
        run(engine, other.finish())

    site.browser.meanwhile(meanwhile)
    site.id_after("meanwhile")
    found = json.loads(site.browser.get("read").text)
    assert found["hits"] == 1
    assert found["cart"] == {"first": 1, "other": 1}


def test_asvs_16_2_5_cs_logging_no_id_is_logged_or_sent_to_the_store(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen = [site.id_after(path) for path in ("change", "sign_in?name=ada", "cycle")]
    names = [handle(id, site.browser.settings.namespace)[:12].decode() for id in seen]
    site.browser.get("sign_out")
    site.browser.id = seen[0]
    site.browser.get("read")
    logged = "\n".join(record.getMessage() for record in caplog.records)
    for id in seen:
        assert id not in caplog.text
        assert id.encode() not in site.place.heard
    for event in (
        f"session {names[0]} created",
        f"session {names[0]} rotated to {names[1]}",
        f"session {names[1]} rotated to {names[2]}",
        f"session {names[2]} ended",
        f"session {names[0]} replaced by another id",
    ):
        assert event in logged
