"""What `sessile.django` adds to Django: devices, admin, commands, checks, messages, expiry."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.utils import timezone

import django_site
from django_site import User
from proxy import Proxy
from sessile.django import SessionStore, checks
from sessile.django.devices import adevices, aend_devices, devices, end_device, end_devices

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"


@pytest.fixture(autouse=True)
def clean(site: Proxy) -> None:
    end_devices(ada())
    end_devices(User.objects.get(username="grace"))


def ada() -> User:
    return User.objects.get(username="ada")


def browser(name: str = "ada", agent: str = FIREFOX) -> Client:
    client = Client(headers={"User-Agent": agent})
    assert client.get(f"/sign_in?name={name}").status_code == 200
    return client


def user(client: Client) -> str:
    return str(client.get("/read").json()["user"])


def output(*arguments: str) -> str:
    written = StringIO()
    call_command("sessile", *arguments, stdout=written)
    return written.getvalue()


def test_a_session_has_what_django_gives_each_one() -> None:
    """SessionBase isn't asked to set its attributes; a new one of Django's would be missing."""
    given = vars(SessionBase())
    for name, value in given.items():
        assert name == "_SessionBase__session_key" or getattr(SessionStore(), name) == value, name
    store = SessionStore()
    assert store.decode(store.encode({"a": 1})) == {"a": 1}
    store.serializer = str
    assert store.serializer is str and SessionStore().serializer is given["serializer"]


def test_a_class_beside_ours_is_set_up_as_well() -> None:
    class Beside(SessionBase):
        def __init__(self, session_key: str | None = None) -> None:
            super().__init__(session_key)
            self.noted = [session_key]

    class Mixed(SessionStore, Beside):
        pass

    class Below(Mixed):
        pass

    class Plain(SessionStore):
        pass

    assert Mixed("odd").noted == Below("odd").noted == ["odd"]
    assert Mixed("odd").session_key == Plain("odd").session_key == SessionStore("odd").session_key
    assert "serializer" in vars(Mixed()) and not vars(Plain()).keys() & {"serializer", "noted"}


@override_settings(SESSILE_GRACE=9)
def test_a_store_has_the_cookie_age_of_its_class_and_no_grace() -> None:
    class Short(SessionStore):
        @classmethod
        def get_session_cookie_age(cls) -> int:
            return 7

    with override_settings(SESSION_COOKIE_AGE=77):
        found = [kind()._state.settings for kind in (SessionStore, Short, SessionStore)]
        assert [(one.idle, one.cookie_age({}), one.grace) for one in found] == [
            *((77, 77, 0), (7, 7, 0), (77, 77, 0)),
        ]
        assert found[0] is found[2]
    assert SessionStore()._state.settings.idle != 77


def test_devices_are_listed_and_ended() -> None:
    first, second, other = browser(), browser(agent="curl/8"), browser("grace")
    found = devices(ada(), SessionStore(second.cookies["sessionid"].value))
    assert [(one.name, one.current) for one in found] == [("curl/8", True), (FIREFOX, False)]
    assert all(abs((timezone.now() - one.last_seen).total_seconds()) < 60 for one in found)
    assert end_device(ada(), found[1].handle)
    assert not end_device(ada(), found[1].handle)
    assert not end_device(User.objects.get(username="grace"), found[0].handle)
    assert [user(client) for client in (first, second, other)] == ["AnonymousUser", "ada", "grace"]


def test_all_devices_but_this_one_are_ended() -> None:
    clients = [browser() for _ in range(4)]
    own = SessionStore(clients[2].cookies["sessionid"].value)
    assert end_devices(ada(), keep=own) == 3
    assert [user(client) for client in clients].count("ada") == 1
    assert end_devices(str(ada().pk)) == 1


def test_devices_async() -> None:
    browser()
    name = ada()

    async def look() -> tuple[int, int]:
        from sessile.django.config import configured

        found = await adevices(name)
        ended = await aend_devices(name)
        await configured().async_engine().close()
        return len(found), ended

    assert asyncio.run(look()) == (1, 1)


def test_a_limit_ends_the_oldest() -> None:
    with override_settings(SESSILE_LIMIT=2):
        clients = [browser() for _ in range(3)]
        assert [user(client) for client in clients] == ["AnonymousUser", "ada", "ada"]


def test_the_device_survives_a_clear_and_no_document_sees_it() -> None:
    client = browser()
    store = SessionStore(client.cookies["sessionid"].value)
    assert set(store.keys()) == {"_auth_user_id", "_auth_user_backend", "_auth_user_hash"}
    kept = dict(store.items())
    store.clear()
    store.update(kept)
    store.save()
    assert [one.name for one in devices(ada())] == [FIREFOX]
    assert user(client) == "ada"


def test_the_admin_lists_and_ends() -> None:
    staff, other = browser("grace"), browser(agent="<script>alert(1)</script>")
    page = staff.get("/admin/sessile/session/?q=ada").content.decode()
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    assert other.cookies["sessionid"].value not in page
    (found,) = devices(ada())
    assert found.handle in page
    form = {"user": ada().pk, "handle": found.handle, "q": "ada"}
    answer = staff.post("/admin/sessile/session/", form, follow=True)
    assert "1 session ended." in answer.content.decode()
    assert user(other) == "AnonymousUser"
    again = [browser(), browser()]
    staff.post("/admin/sessile/session/", {"user": ada().pk, "q": "ada"})
    assert [user(client) for client in again] == ["AnonymousUser"] * 2
    own = {"user": User.objects.get(username="grace").pk}
    staff.post("/admin/sessile/session/", own)
    assert user(staff) == "grace"


def test_the_admin_asks_for_permission() -> None:
    clerk, _ = User.objects.get_or_create(username="clerk", is_staff=True)
    clerk.set_password("clerk")
    clerk.save()
    client = browser("clerk")
    assert client.get("/admin/sessile/session/").status_code == 403
    assert client.post("/admin/sessile/session/", {"user": ada().pk}).status_code == 403
    assert client.get("/admin/sessile/session/add/").status_code == 404
    assert Client().get("/admin/sessile/session/").status_code == 302


def test_commands_list_and_end() -> None:
    client = browser()
    listed = output("list", "ada")
    assert FIREFOX in listed
    assert "1 sessions" in listed
    assert client.cookies["sessionid"].value not in listed
    handle = listed.split()[0]
    assert output("end", "ada", "--handle", handle) == "1 sessions ended\n"
    assert output("end", "ada") == "0 sessions ended\n"
    with pytest.raises(CommandError, match="nobody-here"):
        output("list", "nobody-here")


def test_the_doctor_looks_and_finds(site: Proxy) -> None:
    found = output("doctor")
    for good in ("store answers", "made and changed", "can be listed", "stays ended", "eviction"):
        assert good in found
    assert "BAD" not in found
    site.cut()
    site.refuse = True
    with pytest.raises(CommandError, match="need a look"):
        output("doctor")


CHECKS: list[tuple[dict[str, Any], str]] = [
    ({"SESSILE_URL": "nonsense"}, "sessile.E001"),
    ({"SESSILE_GRACE": -1}, "sessile.E001"),
    ({"SESSILE_URL": "memcached://a", "SESSILE_LIMIT": 2}, "sessile.E002"),
    ({"SESSILE_URL": "memcached://a"}, "sessile.I001"),
    ({"SESSION_ENGINE": "django.contrib.sessions.backends.db"}, "sessile.W001"),
    ({"SESSILE_GRACE": 5, "MIDDLEWARE": [django_site.DJANGOS]}, "sessile.W002"),
    ({"SESSILE_URL": "memory:"}, "sessile.E003"),
    ({"SESSILE_URL": None}, "sessile.W003"),
    ({"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_SECURE": False}, "sessile.E004"),
    ({"SESSION_COOKIE_SAMESITE": None}, "sessile.W006"),
    ({"SESSILE_ENCRYPTION_KEYS": ["x" * 32, None]}, "sessile.W007"),
    ({"SESSILE_ENCRYPTION_KEYS": ["x" * 31]}, "sessile.E001"),
    ({}, "sessile.I002"),
]


@pytest.mark.parametrize(
    "changed, id", CHECKS, ids=[f"{row[1]}-{n}" for n, row in enumerate(CHECKS)]
)
def test_checks(changed: dict[str, Any], id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSILE_URL", raising=False)

    def found() -> set[str | None]:
        return {check.id for check in run_checks(include_deployment_checks=True)}

    with override_settings(**changed):
        assert id in found()
    good = {"SESSION_COOKIE_NAME": "__Host-sessionid", "SESSION_COOKIE_SECURE": True}
    with override_settings(**good):
        assert not {one for one in found() if one and one.startswith("sessile")}


@pytest.mark.parametrize(
    ("container", "url", "root", "warned"),
    [
        (False, "embedded:{home}/new/sessions", "{home}", False),
        (True, "embedded:{home}/new/sessions", "{home}", True),
        (True, "embedded:{home}/new/sessions?idle=60", "/proc", False),
        (True, "embedded:{home}/with%20space", "/proc", False),
        (True, "embedded:", "/proc", False),
        (True, "embedded:/proc/1", "/proc", True),
        (True, "memcached://a", "{home}", False),
    ],
    ids=["no-container", "root", "volume", "quoted", "project", "not-the-project", "no-folder"],
)
def test_a_container_s_own_folder_is_warned_of(
    container: bool,
    url: str,
    root: str,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The folder that the URL names counts. Root is played by its file system, or by another."""
    mark = tmp_path / ".dockerenv"
    if container:
        mark.touch()
    monkeypatch.setattr(checks, "CONTAINERS", [str(mark)])
    monkeypatch.setattr(checks, "ROOT", Path(root.format(home=tmp_path)))
    with override_settings(SESSILE_URL=url.format(home=tmp_path), BASE_DIR=tmp_path):
        found = {check.id for check in run_checks(include_deployment_checks=True)}
    assert ("sessile.W004" in found) is warned
    assert "sessile.W003" not in found, "the URL was said"


def test_saying_embedded_in_the_environment_is_saying_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSILE_URL", "embedded:")
    with override_settings(SESSILE_URL=None):
        found = {check.id for check in run_checks(include_deployment_checks=True)}
    assert "sessile.W003" not in found


def test_a_store_that_evicts_anything_is_warned_of(site: Proxy) -> None:
    import redis

    with redis.Redis(port=site.target) as store:
        store.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = {check.id for check in run_checks(include_deployment_checks=True)}
            with pytest.raises(CommandError):
                output("doctor")
        finally:
            store.config_set("maxmemory-policy", "noeviction")
    assert "sessile.W005" in found


def test_expiry_is_kept_by_the_store(site: Proxy) -> None:
    client = browser()
    id = client.cookies["sessionid"].value
    client.get("/expire?age=100")
    assert client.cookies["sessionid"]["max-age"] == 100
    store = SessionStore(id)
    store.load()
    assert store._state._loaded is not None
    assert 95_000 < (store._state._loaded.idle_left or 0) <= 101_000
    client.get("/expire?age=0")
    assert client.cookies["sessionid"]["max-age"] == ""
    client.get("/expire?age=-1")
    assert user(client) == "AnonymousUser"


def test_an_absolute_end_no_refresh_can_move() -> None:
    with override_settings(SESSILE_MAX_AGE=1000):
        client = browser()
        id = client.cookies["sessionid"].value
        store = SessionStore(id)
        store.set_expiry(timezone.now() + timedelta(days=9))
        store.save()
        again = SessionStore(id)
        again.load()
        assert again._state._loaded is not None
        assert (again._state._loaded.absolute_left or 0) <= 1_001_000


def test_sliding_reads_keep_a_session_and_renew_its_cookie(site: Proxy) -> None:
    with override_settings(SESSILE_SLIDE=True, SESSION_COOKIE_AGE=20):
        began = time.time()
        client = browser()
        store = SessionStore(client.cookies["sessionid"].value)
        while "sessionid" not in client.get("/read").cookies:
            assert time.time() - began < 15
            time.sleep(0.1)
        assert time.time() - began >= 1
        store.load()
        assert store._state._loaded is not None
        assert (store._state._loaded.idle_left or 0) > 19_000
