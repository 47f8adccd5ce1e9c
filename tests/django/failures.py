"""Which tests failed, by what unittest printed.

Python 3.11 and later print `FAIL: test_x (module.Class.test_x)`, 3.10 `FAIL: test_x
(module.Class)`; a name here is always module.Class.test_x, as those that are excluded are written.
"""

from __future__ import annotations

import re

FAILED = re.compile(r"^(?:ERROR|FAIL): (\S+) \((\S+)\)", re.MULTILINE)


def failed_tests(output: str) -> set[str]:
    """The tests that failed, or a fixture of a class: module.Class.setUpClass."""
    return {
        place if place.rpartition(".")[2] == test else f"{place}.{test}"
        for test, place in FAILED.findall(output)
    }
