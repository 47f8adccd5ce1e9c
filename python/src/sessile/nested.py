"""Nested dicts, place by place: what sessions do with paths before anything is stored.

Paths are keys from the outside inwards. What always holds: nothing here copies a value or looks
into a list, and a place that isn't there is no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sessile.errors import DocumentError
from sessile.paths import show

__all__ = ["appended", "held", "increased", "overlaid", "place_of"]


def held(there: Any, path: Sequence[Any]) -> Any:
    """What a nested dict holds at a path; `None` if nothing."""
    for part in path:
        there = there.get(part) if isinstance(there, dict) else None
    return there


def place_of(there: dict[Any, Any], path: Sequence[Any]) -> dict[Any, Any]:
    """The dict that holds the last part of a path; it's made where there is none."""
    for part in path[:-1]:
        below = there.get(part)
        if not isinstance(below, dict):
            below = there[part] = {}
        there = below
    return there


def overlaid(below: dict[Any, Any], above: dict[Any, Any]) -> dict[Any, Any]:
    """Two nested dicts as one, which has what the second has."""
    for key, value in above.items():
        there = below.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            value = overlaid(there, value)
        below[key] = value
    return below


def increased(there: Any, by: int | float, path: Sequence[Any]) -> Any:
    """A number with another one added; nothing counts as 0. Raises DocumentError."""
    try:
        return (there or 0) + by
    except TypeError:
        raise DocumentError(
            f"{show(tuple(path))} is not a number, nothing can be added to it"
        ) from None


def appended(there: Any, value: Any, trim: int | None) -> list[Any]:
    """A list with one more element, of which the last `trim` are kept."""
    whole = [*(there or []), value]
    return whole if trim is None else whole[max(0, len(whole) - trim) :]
