"""What a session has to hold, by its versions: a second implementation of what is promised.

A document is a set of leaves, by path. A request saw a document and left another one; the
difference is what it asked for, and is merged into what is there by then:

- a key that it removed goes, with all below it, seen or not; so does all below a dict that it
  emptied of several keys (of a single one, it's that key which was removed)
- a leaf that it changed or added is set; a dict that was there makes room, a scalar above too; an
  empty dict takes nothing's place but that of a value that was seen there
- what it asked the store to add, append or set if absent is done to what is there by then
- everything else stays as it is

What always holds: nothing here comes from the package. Empty dicts count as absent when documents
are compared: whether one is left when two requests each take out what the other left isn't
promised. Order isn't looked at.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lost.steps import Step, carry_out

__all__ = ["Leaves", "Local", "leaves_of", "merged", "same"]

Path = tuple[str, ...]
Leaves = dict[Path, Any]
"""By path. `EMPTY` marks an empty dict."""
EMPTY: dict[str, Any] = {}


class Local(dict[str, Any]):
    """The session as one request sees it, which notes what the store is asked to do."""

    def __init__(self, seen: Mapping[str, Any]) -> None:
        super().__init__(copy.deepcopy(dict(seen)))
        self.asked: list[tuple[str, Path, Any]] = []

    def incr(self, path: Sequence[str], by: int) -> None:
        self.asked.append(("incr", tuple(path), by))

    def push(self, path: Sequence[str], entry: Any, trim: int | None) -> None:
        self.asked.append(("push", tuple(path), (entry, trim)))

    def init(self, path: Sequence[str], value: Any) -> None:
        if at(self, path) is None:
            self.asked.append(("init", tuple(path), value))


def merged(there: Leaves, seen: Mapping[str, Any], steps: Sequence[Step]) -> Leaves:
    """What the session holds after a request that saw a document and took these steps."""
    local = Local(seen)
    carry_out(local, steps)
    before, after = leaves_of(seen), leaves_of(local)
    state = dict(there)
    for path in gone(before, after):
        remove(state, path)
    for path, value in before.items():
        if value != EMPTY and after.get(path, EMPTY) == EMPTY and state.get(path, EMPTY) != EMPTY:
            del state[path]  # it's a dict now
    for path, value in after.items():
        if path not in before or before[path] != value:
            put(state, path, value)
    for op, path, value in local.asked:
        ask(state, op, path, value)
    return state


def gone(before: Leaves, after: Leaves) -> list[Path]:
    """The tops of what a request removed."""
    there = {path[:length] for path in after for length in range(len(path) + 1)}
    tops = []
    for path in before:
        for length in range(1, len(path) + 1):
            top = path[:length]
            if top not in there or (length < len(path) and is_cleared(top, before, after)):
                tops.append(top)
                break
    return tops


def is_cleared(path: Path, before: Leaves, after: Leaves) -> bool:
    """Whether a dict had several keys and is empty."""
    length = len(path)
    keys = {other[length] for other in before if len(other) > length and other[:length] == path}
    return after.get(path) == EMPTY and len(keys) > 1


def put(state: Leaves, path: Path, value: Any) -> None:
    """Sets a leaf; neither a dict in its place nor a scalar above it stays, unless it's empty."""
    tops = [path[:length] for length in range(1, len(path))]
    above = [top for top in tops if state.get(top, EMPTY) != EMPTY]
    if value == EMPTY:
        if above or state.get(path, EMPTY) != EMPTY:
            return
    else:
        remove(state, path)
        for other in above:
            del state[other]
    state[path] = value


def remove(state: Leaves, path: Path) -> None:
    """Takes out all at a path and below it."""
    for other in [other for other in state if other[: len(path)] == path]:
        del state[other]


def ask(state: Leaves, op: str, path: Path, value: Any) -> None:
    """What the store itself does, to what is there by then."""
    if op == "incr":
        put(state, path, state.get(path, 0) + value)
    elif op == "push":
        entry, trim = value
        entries = [*state.get(path, []), entry]
        put(state, path, entries if trim is None else entries[-trim:])
    elif not any(other[: len(path)] == path for other in state):
        put(state, path, value)


def leaves_of(document: Mapping[str, Any], above: Path = ()) -> Leaves:
    """The leaves of a document. A list is one leaf."""
    leaves: Leaves = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            leaves |= leaves_of(value, (*above, key))
        else:
            leaves[(*above, key)] = EMPTY if isinstance(value, Mapping) else value
    return leaves


def same(one: Leaves, other: Leaves) -> list[str]:
    """Where two documents differ, in words; nothing if they are the same."""
    words = []
    for path in sorted({*one, *other}):
        left, right = (leaves.get(path, EMPTY) for leaves in (one, other))
        if left != right:
            words.append(f"{'.'.join(path)}: {json.dumps(left)} is {json.dumps(right)}")
    return words


def at(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What a document holds at a path; `None` if nothing."""
    here: Any = document
    for key in path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here
