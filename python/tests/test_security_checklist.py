"""Each id of the security checklist has a test, and the page about it lists each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from checklist import PACKAGE, SHARED

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/security-checklist.md"


def names_of_tests() -> dict[str, str]:
    """The functions that pytest collects from the files about security, and where they stand."""
    return {
        node.name: path.name
        for path in HERE.glob("test_*security*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def ids_in(name: str) -> set[str]:
    """The ids that a test's name begins with."""
    return {id for id in {**PACKAGE, **SHARED} if f"_{id}_" in f"{name}_"}


def test_every_id_has_a_test() -> None:
    tested = {id for name in names_of_tests() for id in ids_in(name)}
    assert {**PACKAGE, **SHARED}.keys() - tested == set()


def test_no_test_names_an_id_that_is_not_on_the_list() -> None:
    named = {found for name in names_of_tests() for found in re.findall(r"asvs_\d+_\d+_\d+", name)}
    assert named - {**PACKAGE, **SHARED}.keys() == set()


def test_the_page_says_the_same() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)
    assert {id: text for id, text, _ in rows} == {**PACKAGE, **SHARED}
    tests = names_of_tests()
    for id, _, files in rows:
        there = {f"`{file}`" for name, file in tests.items() if id in ids_in(name)}
        assert set(files.split(", ")) == there, id
