"""Every snippet of docs/django.md is run; a fence that this test can't run fails.

`python settings` blocks are checked by Django's own checks, each function of a `python view`
block is called with a request that has a signed-in session, `sh` blocks go through Django's
command line. The table of settings is compared with the code.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import Error, run_checks
from django.core.management import call_command
from django.test import Client, RequestFactory, override_settings

from django_site import User
from proxy import Proxy
from sessile.django import SessionStore
from sessile.django.config import configured
from sessile.settings import NAMES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/django.md").read_text()
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = FENCE.findall(PAGE)


def blocks(kind: str) -> list[str]:
    return [text for info, text in SNIPPETS if info == kind]


def request_of(name: str) -> Any:
    """A request of a user who has just signed in, and visited before."""
    client = Client()
    client.get(f"/sign_in?name={name}")
    request = RequestFactory().get("/somewhere")
    request.session = SessionStore(client.cookies["sessionid"].value)
    request.user = User.objects.get(username=name)
    return request


def test_there_is_no_snippet_that_nobody_runs() -> None:
    known = {"sh", "python settings", "python view", "python async view"}
    assert {info for info, _ in SNIPPETS} == known
    assert PAGE.count("```") == 2 * len(SNIPPETS)


@pytest.mark.parametrize("text", blocks("python settings"))
def test_settings_are_accepted(site: Proxy, text: str) -> None:
    names: dict[str, Any] = {}
    exec(text, names)
    chosen = {name: value for name, value in names.items() if name.isupper()}
    assert chosen
    chosen["SESSILE_URL"] = f"redis://127.0.0.1:{site.port}/0"
    without_admin = {"INSTALLED_APPS", "MIDDLEWARE"} & set(chosen)
    with override_settings(**chosen):
        problems = [one for one in run_checks() if isinstance(one, Error)]
    assert [one for one in problems if not (without_admin and one.id.startswith("admin."))] == []


@pytest.mark.parametrize("text", blocks("python view") + blocks("python async view"))
def test_views_run(site: Proxy, text: str) -> None:
    names: dict[str, Any] = {}
    exec(text, names)
    views = [one for one in names.values() if is_view(one) and one.__globals__ is names]
    assert views
    for view in views:
        request = request_of("ada")
        if inspect.iscoroutinefunction(view):
            asyncio.run(visit(view, request))
        else:
            answer = view(request)
            request.session.save()
            assert answer is not False or view.__name__ == "sign_out_one"
        if view.__name__ != "sign_out_everywhere":
            assert SessionStore(request.session.session_key).load()["_auth_user_id"]


def is_view(one: Any) -> bool:
    return inspect.isfunction(one) and next(iter(inspect.signature(one).parameters)) == "request"


async def visit(view: Any, request: Any) -> None:
    await view(request)
    await request.session.asave()
    await configured().async_engine().close()


def test_views_do_what_they_say(site: Proxy) -> None:
    names: dict[str, Any] = {}
    for text in blocks("python view"):
        exec(text, names)
    request = request_of("grace")
    for name in ("add", "count", "count", "offer", "address"):
        names[name](request)
        request.session.save()
        request.session = SessionStore(request.session.session_key)
    session = request.session.load()
    assert session["visits"] == 2
    assert session["cart"] == {"apple": 5}
    assert session["seen"] == ["article-7"] * 2
    assert session["first_page"] == "/somewhere"
    assert str(session["offer"]["price"]) == "9.90"
    assert session["address"]["town"] == "Eichwald"
    assert names["add"](request) is True
    names["sign_out_everywhere_else"](request)
    ((handle, _, _, current),) = names["my_devices"](request)
    assert current
    assert names["sign_out_one"](request, handle)
    assert SessionStore(request.session.session_key).load() == {}
    here, there = request_of("grace"), request_of("grace")
    keys = [one.session.session_key for one in (here, there)]
    assert names["sign_out_everywhere"](here) == 2
    assert [SessionStore(key).load() for key in keys] == [{}, {}]
    assert here.session.session_key is None


def test_commands_run(site: Proxy) -> None:
    lines = "".join(blocks("sh")).splitlines()
    ran = 0
    for line in lines:
        if line.startswith("pip install"):
            extras = (ROOT / "python/pyproject.toml").read_text()
            for extra in re.findall(r"\[(.*?)\]", line)[0].split(","):
                assert f"\n{extra} = " in extras
            continue
        python, manage, *arguments = line.split()
        assert (python, manage) == ("python", "manage.py")
        call_command(*arguments, stdout=Quiet())
        ran += 1
    assert ran == 3


class Quiet:
    def write(self, text: str) -> None:
        assert "BAD" not in text


def test_asvs_7_1_1_the_table_of_settings_is_the_codes(site: Proxy) -> None:
    table = PAGE.partition("sessile.settings.NAMES -->\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(SESSILE_\w+)` \| (.*?) \| .* \|$", table, re.MULTILINE)
    assert dict(rows) == NAMES
    assert len(rows) == len(NAMES)
