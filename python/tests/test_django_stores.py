"""The admin's page, the doctor and the commands on every kind of store, memcached included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

import django_site
from django_site import User
from servers import server_bin
from sessile.django.config import configured
from sessile.django.devices import devices, end_devices
from stores import World, end_embedded

PAGE = "/admin/sessile/session/"
INDEXED = ["redis", "sessile", "embedded", "file"]


@pytest.fixture(params=[*INDEXED, "memcached"])
def store(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[str]:
    """The site on a store; its kind."""
    django_site.users()
    kind = request.param
    with ExitStack() as stack:
        if kind == "embedded":
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("SESSILE_SERVER_BIN", server_bin())
            stack.callback(end_embedded, tmp_path)
        urls = {"embedded": f"embedded:{tmp_path}", "file": f"file:{tmp_path / 'sessions'}"}
        url = urls.get(kind) or world.url(kind, "timeout=2")
        stack.enter_context(override_settings(SESSILE_URL=url))
        if kind != "memcached":
            for name in ("ada", "grace"):
                end_devices(User.objects.get(username=name))
        yield kind


def browser(name: str) -> Client:
    client = Client(headers={"User-Agent": "curl/8"})
    assert client.get(f"/sign_in?name={name}").status_code == 200
    return client


def user(client: Client) -> Any:
    return client.get("/read").json()["user"]


def output(*arguments: str) -> str:
    written = StringIO()
    call_command("sessile", *arguments, stdout=written)
    return written.getvalue()


def ada() -> User:
    return User.objects.get(username="ada")


def test_the_admin_ends_sessions_or_says_that_it_cannot(store: str) -> None:
    staff, other = browser("grace"), browser("ada")
    page = staff.get(PAGE + "?q=ada")
    assert page.status_code == 200
    forms = [{"user": ada().pk, "q": "ada"}]
    if store == "memcached":
        forms.append({"user": ada().pk, "q": "ada", "handle": "0" * 64})
        assert "errornote" in page.content.decode()
        assert "have one" in page.content.decode()
        for form in forms:
            answer = staff.post(PAGE, form, follow=True)
            assert answer.redirect_chain == [(PAGE + "?q=ada", 302)]
            assert "listed or ended" in answer.content.decode()
            assert "ended." not in answer.content.decode()
        assert user(other) == "ada"
    else:
        assert "errornote" not in page.content.decode()
        assert "curl/8" in page.content.decode()
        answer = staff.post(PAGE, forms[0], follow=True)
        assert "1 session ended." in answer.content.decode()
        assert user(other) == "AnonymousUser"
    assert user(staff) == "grace"


def test_the_doctor_says_what_the_store_can_do(store: str) -> None:
    browser("ada")
    found = output("doctor")
    assert "BAD" not in found
    assert f"settings: {store}:" in found
    for good in ("store answers", "made and changed", "stays ended"):
        assert good in found
    assert ("can't be listed" in found) == (store == "memcached")
    assert ("a user's sessions can be listed" in found) == (store != "memcached")
    if store != "memcached":
        assert len(devices(ada())) == 1, "the doctor leaves everybody's sessions alone"
        assert configured().engine().sessions_of(configured().user("sessile-doctor")) == []


def test_the_commands_list_and_end_or_say_that_they_cannot(store: str) -> None:
    client = browser("ada")
    if store == "memcached":
        for arguments in (("list", "ada"), ("end", "ada"), ("end", "ada", "--handle", "0" * 64)):
            with pytest.raises(CommandError, match="no index of users"):
                output(*arguments)
        assert user(client) == "ada"
        return
    assert "1 sessions" in output("list", "ada")
    assert output("end", "ada") == "1 sessions ended\n"
    assert user(client) == "AnonymousUser"


@pytest.mark.parametrize(
    "url, said",
    [
        ("memcached://127.0.0.1:1?timeout=1", "SessionUnavailable: "),
        ("sessile://127.0.0.1:1?timeout=1", "SessionUnavailable: "),
        ("file:/proc/no/such/folder/sessions", "ConfigurationError: file URL: "),
        ("embedded:/proc/no/such/folder", "ConfigurationError: embedded URL: "),
    ],
    ids=["memcached", "sessile", "file", "embedded"],
)
def test_the_doctor_finds_a_store_that_is_not_there(url: str, said: str) -> None:
    written = StringIO()
    ill = pytest.raises(CommandError, match="1 of these need a look")
    with override_settings(SESSILE_URL=url), ill:
        call_command("sessile", "doctor", stdout=written)
    assert f"BAD  {said}" in written.getvalue()
