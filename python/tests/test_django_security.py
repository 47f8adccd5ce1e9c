"""The security checklist (see checklist.py) on Django: what only its API and its settings have.

Names of tests begin with the ids of the requirements. What all frameworks have in common is in
test_security.py and test_security_http.py; here is the rest, on a real redis-server.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from threading import Barrier
from types import SimpleNamespace

import pytest
import redis
from django.contrib.sessions.backends.base import UpdateError
from django.test import Client, override_settings

import django_site
from proxy import Proxy
from sessile.django import SessionStore
from sessile.django.devices import devices, end_device, end_devices

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


WAYS = ["get", "item", "in", "has_key", "keys", "values", "items", "bool", "setdefault", "pop"]
WAYS += ["expiry", "user"]


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


def test_asvs_7_5_2_my_sessions_show_device_created_and_last_seen(site: Proxy) -> None:
    end_devices("1")
    began = datetime.now(timezone.utc) - timedelta(seconds=60)
    for name in ("Firefox", "Safari"):
        Client(headers={"User-Agent": name}).get("/sign_in?name=ada")
    own = Client(headers={"User-Agent": "curl"})
    own.get("/sign_in?name=ada")
    mine = SimpleNamespace(session=SessionStore(id_of(own)))
    shown = {row.name: row for row in devices("1", mine)}
    assert shown.keys() == {"Firefox", "Safari", "curl"}
    assert [name for name, row in shown.items() if row.current] == ["curl"]
    for row in shown.values():
        assert began < row.created <= row.last_seen
        assert whose(row.handle) == "AnonymousUser"
    assert end_device("1", shown["Safari"].handle)
    assert not end_device("2", shown["Firefox"].handle)  # somebody else's
    assert {row.name for row in devices("1")} == {"Firefox", "curl"}


def test_asvs_7_4_3_a_change_of_password_ends_the_other_sessions(site: Proxy) -> None:
    others, own = [signed_in(), signed_in()], signed_in()
    assert end_devices("1", keep=SimpleNamespace(session=SessionStore(id_of(own)))) >= 2
    assert [whose(id_of(one)) for one in (*others, own)] == ["AnonymousUser"] * 2 + ["ada"]
