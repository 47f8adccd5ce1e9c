"""Parallel requests under real application servers lose nothing: `make lost-updates`, briefly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 640


@pytest.mark.timeout(300)
def test_no_update_is_lost_by_any_engine_on_any_store(tmp_path: Path) -> None:
    out = tmp_path / "lost.json"
    command = [sys.executable, "tools/lost_updates.py", "--updates", str(UPDATES), "sessile"]
    done = subprocess.run(
        [*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(out.read_text())
    assert len(cases) == 8
    for name, found in cases.items():
        assert found["updates"] == UPDATES + 1, name
        assert not found["failed"], name
        assert found["lost"] == found["lost_in_sum"] == found["too_many_in_sum"] == 0, name
