"""Overlapping requests under real application servers lose nothing: a short `make lost-updates`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 500
WRONG = ("lost", "revived", "unlike the replay", "failed", "given up", "met nobody")


def lost_updates(out: Path, *cases: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Runs the cases whose names hold a word: how that ended, and what it found."""
    command = [sys.executable, "tools/lost_updates.py", "--updates", str(UPDATES), *cases]
    done = subprocess.run(
        [*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done, json.loads(out.read_text()) if out.exists() else {}


@pytest.mark.timeout(900)
def test_what_stores_that_overwrite_lose_and_revive_is_found(tmp_path: Path) -> None:
    done, cases = lost_updates(tmp_path / "lost.json", "django-redis", "flask-session")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cases) == 2
    for found in cases.values():
        assert not found["failed"]
        assert 0 < found["lost"] < found["updates"]
    assert cases["flask, flask-session"]["revived"]


@pytest.mark.timeout(900)
def test_no_update_is_lost_and_no_session_revived_by_any_engine(tmp_path: Path) -> None:
    done, cases = lost_updates(tmp_path / "lost.json", "sessile")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cases) == 12
    for name, found in cases.items():
        assert {kind: found[kind] for kind in WRONG} == dict.fromkeys(WRONG, 0), name
        assert found["updates"] > 0.8 * UPDATES, name
        assert found["forced"] > 0.1 * found["requests"], name
        assert found["merged"] > 0, name
