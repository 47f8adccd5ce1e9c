"""The README's own examples, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from servers import server_bin
from stores import World, end_embedded

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def example(word: str) -> str:
    """The one block of Python that has that word in it."""
    (found,) = [block for block in BLOCK.findall(README.read_text()) if word in block]
    return str(found)


def test_every_block_is_one_of_these() -> None:
    assert len(BLOCK.findall(README.read_text())) == 3


DJANGO = """
import sys
from pathlib import Path
import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.urls import path

def count(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse(str(request.session["n"]))

urlpatterns = [path("", count)]
names = {}
exec(sys.stdin.read(), names)
common = "django.middleware.common.CommonMiddleware"
settings.configure(
    SECRET_KEY="readme", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], BASE_DIR=Path(sys.argv[1]),
    SESSION_ENGINE=names["SESSION_ENGINE"],
    MIDDLEWARE=[common if one is ... else one for one in names["MIDDLEWARE"]],
)
django.setup()
client = Client()
seen = [client.get("/").content.decode() for _ in range(3)]
assert client.session.__class__.__module__.startswith("sessile.django"), client.session
assert Client().get("/").content == b"1", "another browser has a session of its own"
print(*seen)
"""
"""A project with the settings of standard input, and views that save and load a session."""


def test_django(tmp_path: Path, world: World) -> None:
    """As it stands there: sessions live in BASE_DIR/.sessile; and where SESSILE_URL says."""
    environment = {
        "PYTHONPATH": str(README.parent / "python/src"),
        "PATH": "",
        "SESSILE_SERVER_BIN": server_bin(),
    }

    def run(more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", DJANGO, str(tmp_path)],
            input=example("SESSION_ENGINE"),
            capture_output=True,
            text=True,
            check=False,
            env={**environment, **more},
        )

    try:
        done = run({})
        assert (done.returncode, done.stdout.split()) == (0, ["1", "2", "3"]), done.stderr
        assert (tmp_path / ".sessile/server.log").exists()
    finally:
        if (tmp_path / ".sessile/server.log").exists():
            end_embedded(tmp_path / ".sessile")
    elsewhere = run({"SESSILE_URL": f"{world.redis().url}?timeout=20"})
    assert elsewhere.stdout.split() == ["1", "2", "3"], elsewhere.stderr


def test_flask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flask import Flask, session

    monkeypatch.setenv("SESSILE_URL", "memory:readme")
    app = Flask("readme", instance_path=str(tmp_path))
    exec(example("sessile.flask"), {"app": app})

    @app.get("/")
    def count() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_fastapi() -> None:
    text = example("sessile.starlette").replace("embedded:/srv/app/sessions", "memory:asgi")
    assert "memory:" in text
    app = FastAPI()
    exec(text, {"app": app})

    @app.get("/")
    async def count(request: Request) -> int:
        request.session["n"] = request.session.get("n", 0) + 1
        return int(request.session["n"])

    with TestClient(app, base_url="https://testserver") as client:
        assert [client.get("/").json() for _ in range(3)] == [1, 2, 3]
