"""Every snippet of docs/flask.md, docs/asgi.md and docs/testing.md is run, on redis-server.

Each page's apps are built from its blocks and add two items to a cart with one browser.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stores import World

pytest_plugins = ["sessile.testing"]
ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {
    "flask": {"sh", "python flask", "python quart"},
    "asgi": {"sh", "python starlette", "python fastapi", "python litestar"},
    "testing": {"python conftest", "python test"},
}


def snippets(page: str) -> list[tuple[str, str]]:
    text = (ROOT / f"docs/{page}.md").read_text()
    found = FENCE.findall(text)
    assert text.count("```") == 2 * len(found)
    return found


def built(page: str, kind: str, world: World) -> dict[str, Any]:
    """The names that a page's blocks of one kind leave, on our redis-server."""
    # Litestar looks types up in the module that they are named in.
    module = sys.modules["page"] = ModuleType("page")
    names = module.__dict__
    for info, text in snippets(page):
        if info == f"python {kind}":
            exec(text.replace("redis://localhost:6379/0", world.redis().url), names)
    return names


@pytest.mark.parametrize("page", KINDS)
def test_there_is_no_snippet_that_nobody_runs(page: str) -> None:
    found = snippets(page)
    assert {info for info, _ in found} == KINDS[page]
    extras = (ROOT / "python/pyproject.toml").read_text()
    for info, text in found:
        if info == "sh":
            for extra in re.findall(r"\[(.*?)\]", text)[0].split(","):
                assert f"\n{extra} = " in extras


def test_flask(world: World) -> None:
    browser = built("flask", "flask", world)["app"].test_client()
    assert browser.get("/add/apple").json == {"apple": 1}
    assert browser.get("/add/pear").json == {"apple": 1, "pear": 1}
    assert [browser.get("/visit").text for _ in range(2)] == ["1", "2"]
    before = browser.get_cookie("session").value
    assert browser.post("/rights").text == "you have a new id"
    assert browser.get_cookie("session").value != before


def test_quart(world: World) -> None:
    app = built("flask", "quart", world)["app"]

    async def visit() -> list[Any]:
        browser = app.test_client()
        carts = [await (await browser.get(f"/add/{item}")).json for item in ("apple", "pear")]
        await app.session_interface.settings.async_engine().close()
        return carts

    assert asyncio.run(visit()) == [{"apple": 1}, {"apple": 1, "pear": 1}]


@pytest.mark.parametrize("kind", ["starlette", "fastapi", "litestar"])
def test_asgi(kind: str, world: World) -> None:
    pytest.importorskip(kind)
    from starlette.testclient import TestClient

    app = built("asgi", kind, world)["app"]
    with TestClient(app, base_url="https://testserver") as browser:
        assert browser.get("/add/apple").json() == {"apple": 1}
        assert browser.get("/add/pear").json() == {"apple": 1, "pear": 1}


@pytest.mark.parametrize("turn", [1, 2])
def test_the_fixture_gives_an_empty_store(turn: int, sessile_url: str, world: World) -> None:
    built("testing", "test", world)["test_cart"](sessile_url)
