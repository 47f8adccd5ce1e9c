"""What requests do to a session, as data: a step is an operation, a path and a value.

`carry_out` does to the session that a framework hands out what apps do to it: by indexing,
`setdefault`, `pop`, assigning what was read and modified. What merges in the store (`incr`, `push`,
`init`) is asked for where the session has it; elsewhere it's read, changed and written, as apps
have to do it there. The model runs the same steps over a plain dict.
What always holds: a step fits any document; what stands in the way of its path is replaced by a
dict, as apps do that don't trust what they find. No step moves a key, so that each writes the
leaves that it's about and no others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["CONTROL", "Step", "carry_out"]


class Step(NamedTuple):
    """One operation on a session."""

    op: str
    path: tuple[str, ...] = ()
    value: Any = None


CONTROL = ("rotate", "end")
"""What each framework has a name of its own for."""


def carry_out(session: Any, steps: Sequence[Sequence[Any]]) -> None:
    """Does all steps but those of CONTROL."""
    for op, path, value in steps:
        if op not in CONTROL:
            OPERATIONS[op](session, path, value)


def change(session: Any, path: Sequence[str], value: Any) -> None:
    """Assigns in place: `session["cart"]["items"]["pear"] = 1`."""
    place(session, path)[path[-1]] = value


def reassign(session: Any, path: Sequence[str], value: Any) -> None:
    """Assigns what was read and modified: `cart = session["cart"] ...; session["cart"] = cart`."""
    holder = {path[0]: copy.deepcopy(session.get(path[0]))}
    change(holder, path, value)
    session[path[0]] = holder[path[0]]


def setdefault(session: Any, path: Sequence[str], value: Any) -> None:
    """`session.setdefault("cart", {}).setdefault("items", {}).setdefault("pear", 1)`."""
    here = session
    for key in path[:-1]:
        below = here.setdefault(key, {})
        if not isinstance(below, dict):
            below = here[key] = {}
        here = below
    here.setdefault(path[-1], value)


def first(session: Any, path: Sequence[str], value: Any) -> None:
    """The first item of a new cart as one assignment; of one that's there, in place."""
    if path[0] in session:
        change(session, path, value)
        return
    for key in reversed(path[1:]):
        value = {key: value}
    session[path[0]] = value


def delete(session: Any, path: Sequence[str], _: Any) -> None:
    """`del session["cart"]["items"]["pear"]`, if it's there."""
    here = reach(session, path[:-1])
    if here is not None:
        here.pop(path[-1], None)


def empty(session: Any, path: Sequence[str], _: Any) -> None:
    """`session["cart"].clear()`, if it's there."""
    here = reach(session, path)
    if here is not None:
        here.clear()


def count(session: Any, path: Sequence[str], by: int) -> None:
    """Adds as apps do: reads, adds, assigns."""
    here = place(session, path)
    here[path[-1]] = here.get(path[-1], 0) + by


def incr(session: Any, path: Sequence[str], by: int) -> None:
    """Adds in the store."""
    if hasattr(session, "incr"):
        session.incr(path, by)
    else:
        count(session, path, by)


def push(session: Any, path: Sequence[str], value: Any) -> None:
    """Appends in the store; `value` is what is appended, and how many entries are kept."""
    entry, trim = value
    if hasattr(session, "push"):
        session.push(path, entry, trim=trim)
        return
    here = place(session, path)
    entries = [*here.get(path[-1], []), entry]
    here[path[-1]] = entries if trim is None else entries[-trim:]


def init(session: Any, path: Sequence[str], value: Any) -> None:
    """Sets in the store unless it's there."""
    if hasattr(session, "init"):
        session.init(path, value)
    else:
        setdefault(session, path, value)


OPERATIONS: dict[str, Callable[[Any, Sequence[str], Any], None]] = {
    operation.__name__: operation
    for operation in (
        change,
        reassign,
        setdefault,
        first,
        delete,
        empty,
        count,
        incr,
        push,
        init,
    )
}


def place(session: Any, path: Sequence[str]) -> Any:
    """The dict that holds the last key of a path; what isn't there, or is no dict, becomes one."""
    here = session
    for key in path[:-1]:
        if not isinstance(here.get(key), dict):
            here[key] = {}
        here = here[key]
    return here


def reach(session: Any, path: Sequence[str]) -> Any:
    """The dict at a path; `None` if there is none."""
    here = session
    for key in path:
        here = here.get(key)
        if not isinstance(here, dict):
            return None
    return here
