"""tests/django/failures.py: a test has one name, whichever Python ran it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import run

ROOT = Path(run.__file__).resolve().parent.parent
SUITE = """
import unittest

class Shown(unittest.TestCase):
    def test_that_passes(self):
        pass

    def test_that_fails(self):
        self.fail()

    def test_with_parts(self):
        '''It has a description.'''
        for part in (1, 2):
            with self.subTest(part=part):
                self.fail()

class Early(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError

    def test_that_never_runs(self):
        pass
"""
OLDER = """\
ERROR: setUpClass (suite.Early)
FAIL: test_that_fails (suite.Shown)
FAIL: test_with_parts (suite.Shown) (part=1)
It has a description.
FAIL: test_with_parts (suite.Shown) (part=2)
It has a description.
FAILED (failures=3, errors=1)
"""
"""What Python 3.10.13 prints of it, but for its rulers and tracebacks."""
NAMES = {"suite.Early.setUpClass", "suite.Shown.test_that_fails", "suite.Shown.test_with_parts"}


@pytest.fixture
def failed_tests():
    place = ROOT / "tests/django/failures.py"
    spec = importlib.util.spec_from_file_location("failures", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.failed_tests


def test_what_3_10_prints(failed_tests) -> None:
    assert failed_tests(OLDER) == NAMES


def test_what_this_python_prints(failed_tests, tmp_path) -> None:
    (tmp_path / "suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "unittest", "-v", "suite"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert failed_tests(done.stderr) == NAMES
