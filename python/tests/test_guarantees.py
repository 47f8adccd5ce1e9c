"""docs/guarantees.md says what the engines declare, and what tests prove; nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import guarantees
from rivals import ANSWERS, RIVALS
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


def test_other_engines_are_asked_all_that_the_page_answers() -> None:
    for question, (yes, no) in ANSWERS.items():
        assert not yes & no
        assert yes | no <= set(RIVALS), question
        assert "sessile" in yes, question
    assert guarantees.others() in guarantees.PAGE.read_text()


CASE = '<testcase classname="python.tests.test_x" name="test_y[memory-{}]">{}</testcase>'
REPORTS = {
    "": [],
    CASE.format("sync", "") + CASE.format("async", "<skipped/>"): ["memory-async]: skipped"],
    CASE.format("sync", "<failure/>") + CASE.format("async", ""): ["memory-sync]: failure"],
    CASE.format("async", ""): ["memory-sync]: did not run"],
}
"""What pytest may report, and what then is wrong with the run."""


@pytest.mark.parametrize("at", range(len(REPORTS)))
def test_a_run_shows_the_page_if_each_test_behind_it_passed(tmp_path: Path, at: int) -> None:
    cases, wrong = list(REPORTS.items())[at]
    cases = cases or CASE.format("sync", "") + CASE.format("async", "")
    report = tmp_path / "run.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    found, behind = (
        guarantees.Finder(),
        {f"test_x.py::test_y[memory-{f}]" for f in ("sync", "async")},
    )
    found.every[Promise.MERGE, "memory"] = behind
    found.every[Promise.FAILOVER, "sentinel"] = found.fleet = {"test_x.py::test_z"}
    promises = {
        "memory": frozenset({Promise.MERGE}),
        "sentinel": frozenset({Promise.FAILOVER}),
    }
    tests, ran = guarantees.behind(promises, found), guarantees.outcomes(report)
    said = guarantees.unproven(tests, found.fleet, ran)
    assert [line.partition("[")[2] for line in said] == wrong
    # Where a test that loses servers ran, all of them have to.
    said = guarantees.unproven(tests, found.fleet | behind, ran)
    assert "test_x.py::test_z: did not run" in said
