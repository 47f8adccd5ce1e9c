"""docs/durability.md names a test for each promise: all of them have to be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tests_that_promises_name_are_there():
    page = (ROOT / "docs/durability.md").read_text()
    named = re.findall(r"`([\w/]+\.(?:py|rs))`(?:: ((?:`\w+`(?:, )?)+))?", page)
    assert len(named) > 20
    for path, names in named:
        file = Path(__file__).with_name(path) if path.endswith(".py") else ROOT / path
        text = file.read_text()
        for name in re.findall(r"\w+", names):
            assert re.search(rf"\b(?:def|fn) {name}\(", text), f"{name} isn't in {path}"
