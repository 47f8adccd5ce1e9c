"""docs/guarantees.md says what the engines declare, and what tests prove; nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import guarantees
from sessile.promises import Promise

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    command = [sys.executable, "tools/guarantees.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_promise_without_a_test_is_an_error() -> None:
    found = guarantees.Finder()
    found.proofs[Promise.MERGE, "memory"] = "test_x.py::test_y"
    text = guarantees.page({"memory": frozenset({Promise.MERGE})}, found)
    assert "| yes (1) |" in text
    assert "1. `test_x.py::test_y`" in text
    with pytest.raises(SystemExit, match="memory declares IDLE"):
        guarantees.page({"memory": frozenset({Promise.MERGE, Promise.IDLE})}, found)


def test_a_test_without_a_promise_is_an_error() -> None:
    found = guarantees.Finder()
    found.named.add((Promise.FAILOVER, "memory"))
    with pytest.raises(SystemExit, match="doesn't declare FAILOVER"):
        guarantees.page({"memory": frozenset()}, found)
