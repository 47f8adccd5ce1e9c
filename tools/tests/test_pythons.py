"""tests/pythons/run.py: which Pythons are taken, and what its last line says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import setup_venv

HERE = sys.version_info[:2]


@pytest.fixture
def pythons(monkeypatch):
    place = setup_venv.ROOT / "tests/pythons/run.py"
    spec = importlib.util.spec_from_file_location("pythons_run", place)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pythons_run", module)
    spec.loader.exec_module(module)
    return module


def interpreter(folder: Path, name: str, answer: str) -> None:
    """What looks like a Python, and answers as one, or not at all."""
    (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
    (folder / name).chmod(0o755)


def test_the_newest_of_each_version_is_taken(pythons, tmp_path, monkeypatch) -> None:
    for version in ("3.10.2", "3.10.13", "3.9.18"):
        folder = tmp_path / ".pyenv/versions" / version / "bin"
        folder.mkdir(parents=True)
        interpreter(folder, "python", f"echo {version.replace('.', ' ')}")
    shims = tmp_path / "shims"
    shims.mkdir()
    interpreter(shims, "python3.12", "echo 3 12 1")
    interpreter(shims, "python3.14", "echo 'no such version' >&2; exit 127")
    monkeypatch.setenv("PATH", str(shims))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    found = pythons.installed()
    assert found[3, 10] == str(tmp_path / ".pyenv/versions/3.10.13/bin/python")
    assert found[3, 12] == str(shims / "python3.12")
    assert (3, 9) not in found
    assert found.get((3, 14)) != str(shims / "python3.14")


def test_too_few_tests_are_a_failure(pythons) -> None:
    assert pythons.judged("3.10", 0, "...\n650 passed, 2 skipped in 9.1s\n").problem == ""
    assert "only 7 tests passed" in pythons.judged("3.10", 0, "7 passed in 1s\n").problem
    assert "only 0 tests passed" in pythons.judged("3.10", 0, "no tests ran in 1s\n").problem
    assert "exit status 1" in pythons.judged("3.10", 1, "1 failed, 900 passed in 9s\n").problem


def test_the_last_line_names_every_version(pythons, monkeypatch) -> None:
    monkeypatch.setattr(pythons.sys, "version_info", (3, 11, 7))
    outcomes = [
        pythons.Outcome("3.10", "650 passed", "", ""),
        pythons.Outcome("3.13", "1 failed", "exit status 1", ""),
    ]
    found = {(3, 10): "a", (3, 11): "b", (3, 12): "c", (3, 13): "d"}
    assert pythons.closing_line(outcomes, found) == (
        "Python 3.10 passed; 3.13 FAILED; 3.11 is this one; there, but not asked: 3.12; "
        "not found: 3.14"
    )


def test_one_that_has_no_environment_fails_the_run(pythons, tmp_path, monkeypatch, capsys) -> None:
    interpreter(tmp_path, "python3", "echo broken >&2; exit 1")
    monkeypatch.setattr(pythons, "BUILD", tmp_path / "build")
    other = (3, 10) if HERE != (3, 10) else (3, 12)
    monkeypatch.setattr(pythons, "installed", lambda: {other: str(tmp_path / "python3")})
    assert pythons.main(["--ends"]) == 1
    assert "its environment can't be made" in capsys.readouterr().out


def test_one_that_never_ends_fails_the_run(pythons, tmp_path, monkeypatch, capsys) -> None:
    interpreter(tmp_path, "python3", "exec sleep 600")
    monkeypatch.setattr(pythons, "SECONDS", 0.1)
    monkeypatch.setattr(pythons, "prepared", lambda name, base: base)
    monkeypatch.setattr(pythons, "installed", lambda: {(3, 9): str(tmp_path / "python3")})
    assert pythons.main([]) == 1
    assert "Python 3.9: no end after 0.1 seconds" in capsys.readouterr().out


def test_all_that_is_installed_is_pinned(pythons) -> None:
    names = {line.partition("==")[0].lower() for line in pythons.requirements()}
    assert names == pythons.PACKAGES
