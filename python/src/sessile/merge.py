"""How a patch is merged into the leaves of a session.

Fields are the leaves of a document: names are paths whose components are joined by dots, values
are JSON texts, each perhaps followed by a space and an order stamp. What always holds: the parts
of a patch are applied in the order in which `Changes` lists them; no leaf has another leaf above
or below it, but for the marker of an empty dict; what can't be applied raises DocumentError and
nothing is merged. The scripts for Redis do the same in Lua.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from sessile.contract import Changes, Push
from sessile.errors import DocumentError

__all__ = ["merge"]

LEAF = re.compile(rb"(.*?)( [0-9a-z]+)?", re.DOTALL)
NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
BIGGEST = 2**63 - 1
MARKER = b"{}"


def merge(fields: Mapping[bytes, bytes], changes: Changes) -> dict[bytes, bytes]:
    """The fields after the changes; raises DocumentError, naming the path."""
    after = dict(fields)
    for tree in changes.delete_trees:
        delete_tree(after, tree)
    for name in changes.delete:
        after.pop(name, None)
    for name, value in changes.set.items():
        put(after, name, value)
    for name, value in changes.init.items():
        if name not in after and not has_below(after, name):
            put(after, name, value)
    for name, by in changes.increment.items():
        put(after, name, increased(after.get(name, b"0"), by, name))
    for push in changes.push:
        put(after, push.name, pushed(after.get(push.name, b"[]"), push))
    return after


def put(fields: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Sets a leaf: all below it goes, and so does a leaf above it.

    Markers above it stay: they mean nothing there, but hold the place of their dict. A marker takes
    nothing away: it isn't set where a value stands, or below one.
    """
    parts = name.split(b".")
    names = [b".".join(parts[:length]) for length in range(1, len(parts))]
    above = [other for other in names if has_value(fields, other)]
    if split(value)[0] == MARKER:
        if above or has_value(fields, name):
            return
    else:
        for other in (*below(fields, name), *above):
            del fields[other]
    fields[name] = value


def has_value(fields: Mapping[bytes, bytes], name: bytes) -> bool:
    """Whether there is a leaf that's no marker."""
    return name in fields and split(fields[name])[0] != MARKER


def delete_tree(fields: dict[bytes, bytes], name: bytes) -> None:
    """Removes a leaf and all below it; the empty name is the root."""
    if not name:
        fields.clear()
        return
    fields.pop(name, None)
    for other in below(fields, name):
        del fields[other]


def below(fields: Mapping[bytes, bytes], name: bytes) -> list[bytes]:
    prefix = name + b"."
    return [other for other in fields if other.startswith(prefix)]


def has_below(fields: Mapping[bytes, bytes], name: bytes) -> bool:
    prefix = name + b"."
    return any(other.startswith(prefix) for other in fields)


def split(leaf: bytes) -> tuple[bytes, bytes]:
    """The JSON text of a leaf, and its stamp with the space before it."""
    match = LEAF.fullmatch(leaf)
    assert match is not None
    return match[1], match[2] or b""


def increased(leaf: bytes, by: int | float, name: bytes) -> bytes:
    """The leaf with a number added: whole numbers stay exact, up to 64 bits."""
    text, stamp = split(leaf)
    match = NUMBER.fullmatch(text)
    if match is None:
        raise DocumentError(f"{show(name)} is not a number, nothing can be added to it")
    whole = match[1] is None and match[2] is None and isinstance(by, int)
    total = int(text) + int(by) if whole else float(text) + by
    if abs(total) > BIGGEST if whole else total - total != 0:
        raise DocumentError(f"{show(name)} would become too large a number")
    return repr(total).encode() + stamp


def pushed(leaf: bytes, push: Push) -> bytes:
    """The leaf with a value appended, and only the last elements if the push trims."""
    text, stamp = split(leaf)
    if not (text.startswith(b"[") and text.endswith(b"]")):
        raise DocumentError(f"{show(push.name)} is not a list, nothing can be appended to it")
    inner = text[1:-1].strip()
    inner = inner + b"," + push.value if inner else push.value
    if push.trim is not None:
        found = elements(inner)
        inner = b",".join(found[max(0, len(found) - push.trim) :])
    return b"[" + inner + b"]" + stamp


def elements(inner: bytes) -> list[bytes]:
    """The texts of a list's elements, untouched."""
    text = inner.decode()
    decoder = json.JSONDecoder()
    found, start = [], 0
    while start < len(text):
        _, end = decoder.raw_decode(text, start)
        found.append(text[start:end].encode())
        start = end + len(text[end:]) - len(text[end:].lstrip(" \t\r\n,"))
    return found


def show(name: bytes) -> str:
    return name.decode(errors="replace")
