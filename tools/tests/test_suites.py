"""The suite runner fails when it should, and its table says what the runners said."""

from __future__ import annotations

import sys

import pytest

import setup_venv
import suites
from suites import Suite


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(suites, "LOGS", tmp_path)


def test_a_suite_that_does_not_exist_fails(capsys) -> None:
    suite = Suite("ghost", (suites.PY, "tests/ghost/run.py"))
    result = suites.run(suite, sys.executable, {})
    assert result.status == 127
    assert "tests/ghost/run.py does not exist" in capsys.readouterr().out


def test_a_missing_tool_fails(capsys) -> None:
    result = suites.run(Suite("ghost", ("no-such-tool",)), sys.executable, {})
    assert result.status == 127
    assert "no-such-tool is not installed" in result.closing


@pytest.mark.parametrize("alone", [False, True])
def test_status_and_closing_line(alone: bool, capfd) -> None:
    script = "print('working'); print('7 passed'); raise SystemExit(3)"
    result = suites.run(Suite("x", (suites.PY, "-c", script), alone), sys.executable, {})
    assert (result.status, result.closing) == (3, "7 passed")
    assert "working" in capfd.readouterr().out


def test_cargo_s_binaries_are_summed() -> None:
    text = (
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n"
        "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n"
    )
    line = suites.closing_line(suites.TEST[0], text)
    assert line == "7 passed, 2 failed, 1 ignored in 2 binaries"


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(setup_venv.SetupError, match="no suite 'nonsense'"):
        suites.run_group("test", ["nonsense"])


def test_a_red_suite_makes_the_group_red(monkeypatch) -> None:
    monkeypatch.setattr(suites, "prepare", lambda group, chosen: ({}, sys.executable))
    fine, bad = Suite("fine", (suites.PY, "-c", "")), Suite("bad", (suites.PY, "-c", "exit(1)"))
    monkeypatch.setitem(suites.GROUPS, "test", [fine])
    assert suites.run_group("test", []) is True
    monkeypatch.setitem(suites.GROUPS, "test", [fine, bad])
    assert suites.run_group("test", []) is False
    assert suites.run_group("test", ["fine"]) is True
