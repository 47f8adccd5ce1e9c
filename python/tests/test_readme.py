"""The README's own examples, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def example(word: str) -> str:
    """The one block of Python that has that word in it."""
    (found,) = [block for block in BLOCK.findall(README.read_text()) if word in block]
    return str(found)


def test_every_block_is_one_of_these() -> None:
    assert len(BLOCK.findall(README.read_text())) == 3


def test_django() -> None:
    from django.utils.module_loading import import_string

    names: dict[str, Any] = {}
    exec(example("SESSION_ENGINE"), names)
    assert import_string(f"{names['SESSION_ENGINE']}.SessionStore")
    (middleware,) = [name for name in names["MIDDLEWARE"] if name is not ...]
    assert import_string(middleware)


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
