"""Parallel requests under real application servers lose nothing: `make lost-updates`, briefly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 640


def lost_updates(cases: str, out: Path) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Runs the cases whose names hold a word: how that ended, and what it found."""
    command = [sys.executable, "tools/lost_updates.py", "--updates", str(UPDATES), cases]
    done = subprocess.run(
        [*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done, json.loads(out.read_text()) if out.exists() else {}


@pytest.mark.timeout(300)
def test_what_a_store_that_overwrites_loses_is_found(tmp_path: Path) -> None:
    # Django's cache engine writes the whole session: of 640 parallel updates some are lost.
    done, cases = lost_updates("django, django-redis", tmp_path / "lost.json")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = cases.values()
    assert found["updates"] == UPDATES + 1 and not found["failed"]
    assert 0 < found["lost"] < UPDATES


@pytest.mark.timeout(300)
def test_no_update_is_lost_by_any_engine_on_any_store(tmp_path: Path) -> None:
    done, cases = lost_updates("sessile", tmp_path / "lost.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cases) == 8
    for name, found in cases.items():
        assert found["updates"] == UPDATES + 1, name
        assert not found["failed"], name
        assert found["lost"] == found["lost_in_sum"] == found["too_many_in_sum"] == 0, name
