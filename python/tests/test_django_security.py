"""The security checklist (OWASP ASVS 5.0 ids, CS = its Session Management Cheat Sheet) on Django.

Names of tests begin with the ids of the requirements. The rows that only a store can hold are
tested with the stores; here is what the package owes, on a real redis-server.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, ClassVar

import pytest
import redis
from django.contrib.sessions.backends.base import UpdateError
from django.test import Client, override_settings

import django_site
from proxy import Proxy
from sessile.django import SessionStore
from sessile.django.config import configured
from sessile.ids import handle

HOSTILE = [
    "x" * 10_000,
    "a" * 31 + "\n",
    "a" * 30 + "\r\n",
    "a" * 31 + "\0",
    "*" * 32,
    "a?[b]*" + "c" * 26,
    "é" * 32,
    "\N{SNOWMAN}" * 32,
    "A" * 32,
    "../" * 10 + "ab",
    " " + "a" * 31,
    "",
]


def signed_in() -> Client:
    client = Client()
    client.get("/sign_in?name=ada")
    return client


def id_of(client: Client) -> str:
    return client.cookies["sessionid"].value


def whose(id: str) -> str:
    client = Client()
    client.cookies["sessionid"] = id
    return str(client.get("/read").json()["user"])


def test_asvs_7_2_1_unknown_or_altered_id_is_nobody(site: Proxy) -> None:
    id = id_of(signed_in())
    other = ("b" if id[0] != "b" else "c") + id[1:]
    for bad in (other, id[::-1], id.upper(), id + "a", id[:-1]):
        assert whose(bad) == "AnonymousUser"
    assert whose(id) == "ada"
    stored = handle(id, configured().namespace).decode()
    for bad in (stored, stored[:32], stored[32:]):
        assert whose(bad) == "AnonymousUser"


def test_asvs_7_2_3_ids_are_random_and_long_enough() -> None:
    ids = [SessionStore()._get_new_session_key() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(id) == 32 for id in ids)
    counts = Counter("".join(ids))
    expected = 20_000 * 32 / 36
    chi_square = sum((counts[letter] - expected) ** 2 / expected for letter in counts)
    assert len(counts) == 36
    assert chi_square < 100  # 35 degrees of freedom: once in ten million runs by chance


def test_asvs_11_5_1_a_fork_has_ids_of_its_own() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, "".join(SessionStore()._get_new_session_key() for _ in range(9)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    theirs = os.read(reader, 1000).decode()
    os.close(reader)
    assert len(theirs) == 9 * 32
    assert not any(SessionStore()._get_new_session_key() in theirs for _ in range(9))


def test_asvs_7_2_4_sign_in_changes_the_id_and_the_old_one_is_dead(site: Proxy) -> None:
    client = Client()
    client.get("/change")
    fixed = id_of(client)
    client.get("/sign_in?name=ada")
    assert id_of(client) != fixed
    assert whose(fixed) == "AnonymousUser"
    first = id_of(client)
    client.get("/sign_in?name=grace")
    assert id_of(client) != first
    assert whose(first) == "AnonymousUser"
    assert whose(id_of(client)) == "grace"


def test_asvs_7_2_4_rotation_is_one_step_under_100_requests(site: Proxy) -> None:
    client = Client()
    client.get("/change")
    old, gate = id_of(client), Barrier(100)

    def visit(number: int) -> tuple[int, str]:
        browser = Client(raise_request_exception=False)
        browser.cookies["sessionid"] = old
        gate.wait(60)
        answer = browser.get("/sign_in?name=ada" if number == 0 else "/read")
        who = answer.json()["user"] if number else "sign-in"
        return answer.status_code, who

    with ThreadPoolExecutor(100) as pool, override_settings(SESSILE_URL=patient(site)):
        seen = Counter(pool.map(visit, range(100)))
    assert set(seen) == {(200, "sign-in"), (200, "AnonymousUser")}
    assert whose(old) == "AnonymousUser"


def patient(site: Proxy) -> str:
    return f"redis://127.0.0.1:{site.port}/0?timeout=20&pool_wait=20&pool=100"


def test_cs_strict_mode_never_adopts_an_id(site: Proxy) -> None:
    client = Client()
    for chosen in ("a" * 32, "0123456789abcdef" * 2):
        client.cookies["sessionid"] = chosen
        client.get("/change")
        assert id_of(client) != chosen
        assert not SessionStore().exists(chosen)


@pytest.mark.parametrize("bad", HOSTILE, ids=[f"{at}" for at in range(len(HOSTILE))])
def test_cs_any_input_is_checked_before_a_byte_is_sent(site: Proxy, bad: str) -> None:
    before = site.bytes_sent
    store = SessionStore(bad)
    assert store.load() == {}
    assert store.session_key is None
    assert not store.exists(bad)
    SessionStore().delete(bad)
    SessionStore(bad).flush()
    assert site.bytes_sent == before


def test_asvs_7_4_1_sign_out_ends_the_session(site: Proxy) -> None:
    client = signed_in()
    id = id_of(client)
    late = SessionStore(id)
    late["x"] = 1
    client.get("/sign_out")
    assert whose(id) == "AnonymousUser"
    with pytest.raises(UpdateError):
        late.save()
    assert not SessionStore().exists(id)


def test_asvs_3_3_1_cookie_attributes(site: Proxy) -> None:
    cookie = signed_in().cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert (cookie["secure"], cookie["domain"]) == ("", "")
    host = {"SESSION_COOKIE_NAME": "__Host-sessionid", "SESSION_COOKIE_SECURE": True}
    with override_settings(**host):
        cookie = signed_in().cookies["__Host-sessionid"]
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")


def test_asvs_3_3_5_only_the_id_travels(site: Proxy) -> None:
    client = signed_in()
    store = SessionStore(id_of(client))
    store["large"] = "x" * 100_000
    store.save()
    client.get("/change")
    assert len(client.cookies["sessionid"].OutputString()) < 300


WAYS = ["get", "in", "has_key", "keys", "values", "items", "bool", "expiry", "user"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("user", ["signed in", "nobody"])
def test_asvs_14_3_2_caches_are_told_of_every_look(site: Proxy, way: str, user: str) -> None:
    client = Client()
    client.get("/change")
    if user == "signed in":
        client.get("/sign_in?name=ada")
    answer = client.get(f"/look?way={way}")
    assert "Cookie" in answer["Vary"]
    stored = answer.get("Cache-Control")
    assert stored == ("private, no-store" if user == "signed in" else None)


def test_asvs_14_3_2_a_set_cookie_is_not_stored_and_a_views_own_rule_stands(site: Proxy) -> None:
    client = Client()
    answer = client.get("/change")
    assert answer["Cache-Control"] == "private, no-store"
    assert "Cookie" in answer["Vary"]
    client.get("/sign_in?name=ada")
    assert client.get("/own_caching")["Cache-Control"] == "max-age=5"
    assert "Vary" not in client.get("/nothing")


def test_asvs_14_2_1_no_id_in_urls(site: Proxy) -> None:
    id = id_of(signed_in())
    answer = Client().get("/read", {"sessionid": id, "session_key": id, "gate": id})
    assert answer.json()["user"] == "AnonymousUser"


class Bomb:
    """Notes that it was unpickled."""

    went_off: ClassVar[list[str]] = []

    def __reduce__(self) -> Any:
        return Bomb.went_off.append, ("boom",)


def test_asvs_1_5_2_nothing_in_the_store_is_executed(site: Proxy) -> None:
    client = signed_in()
    id = id_of(client)
    key = configured().prefix + handle(id, configured().namespace)
    with redis.Redis(port=site.target) as store:
        assert store.type(key) == b"hash"
        for name in (b"bomb", b"hits"):
            store.hset(key, name, pickle.dumps(Bomb()))
        browser = Client(raise_request_exception=False)
        browser.cookies["sessionid"] = id
        assert browser.get("/read").status_code in (200, 500)
        store.hdel(key, "bomb", "hits")
    assert Bomb.went_off == []
    assert whose(id) == "ada"


def test_asvs_1_3_9_keys_are_plain(site: Proxy) -> None:
    for _ in range(20):
        (key,) = SessionStore(SessionStore()._get_new_session_key())._state.keys
        assert key.isascii()
        assert len(key) < 250
        assert not set(key) & set(b" \r\n\0*?[")


def test_asvs_16_2_5_no_id_in_logs_errors_or_the_store(
    site: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with redis.Redis(port=site.target) as store, store.monitor() as monitor:
        client = signed_in()
        first = id_of(client)
        client.get("/change")
        client.get("/cycle")
        second = id_of(client)
        site.cut()
        site.refuse = True
        assert Client(headers={"Cookie": f"sessionid={second}"}).get("/read").status_code == 503
        store.ping()
        seen = []
        for command in monitor.listen():
            seen.append(str(command))
            if "PING" in seen[-1]:
                break
    text = "\n".join([caplog.text, *seen])
    assert first not in text
    assert second not in text
    assert first not in repr(SessionStore(first)._state.settings)


def test_asvs_16_5_2_an_outage_fails_closed_and_in_time(site: Proxy) -> None:
    client = signed_in()
    id = id_of(client)
    site.cut()
    site.refuse = True
    began = time.monotonic()
    for path in ("/read", "/change", "/sign_out", "/count"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "sessionid" not in answer.cookies
    assert time.monotonic() - began < 20
    assert id_of(client) == id
    assert client.get("/nothing").status_code == 200
    site.refuse = False
    deadline = time.monotonic() + 20
    while client.get("/read").status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.get("/read").json()["user"] == "ada"


def test_asvs_16_5_3_reads_as_nobody_if_asked_for_and_writes_never(site: Proxy) -> None:
    client = signed_in()
    site.cut()
    site.refuse = True
    with override_settings(SESSILE_READ_OUTAGE="anonymous"):
        answer = client.get("/read")
        assert answer.json()["user"] == "AnonymousUser"
        assert "sessionid" not in answer.cookies
        for path in ("/change", "/sign_out", "/sign_in?name=ada"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "sessionid" not in answer.cookies


def test_asvs_15_4_1_two_requests_lose_nothing(site: Proxy) -> None:
    client = Client()
    client.get("/nested?item=first")
    django_site.gates["both"] = Barrier(2)

    def visit(item: str) -> int:
        browser = Client()
        browser.cookies["sessionid"] = id_of(client)
        return browser.get(f"/nested?item={item}&gate=both").status_code

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(visit, ["left", "right"])) == [200, 200]
    del django_site.gates["both"]
    assert set(SessionStore(id_of(client)).load()["cart"]) == {"first", "left", "right"}
