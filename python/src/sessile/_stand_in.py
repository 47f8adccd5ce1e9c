"""A small codec: documents to leaves and back, ids and handles.

Stands in for `sessile.document` and `sessile.ids` with their names and arguments, until those
are there: dicts one level or more deep, JSON values only, no size limits.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sessile.contract import Changes, Push
from sessile.errors import DocumentError
from sessile.merge import merge, split

META = b"\\!"


class Base:
    """What was last loaded or saved: raw leaves by name."""

    def __init__(self, fields: Mapping[bytes, bytes] | None = None) -> None:
        self.fields = dict(fields or {})

    def advanced(self, changes: Changes) -> Base:
        return Base(merge(self.fields, changes))


class Intents:
    """Explicit operations of one request."""

    def __init__(self) -> None:
        self.cleared = False
        self.replaced: list[tuple[str, ...]] = []
        self.increments: dict[tuple[str, ...], int | float] = {}
        self.pushes: list[tuple[tuple[str, ...], Any, int | None]] = []
        self.inits: dict[tuple[str, ...], Any] = {}

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]
        self.cleared = True

    def replace(self, path: Sequence[str], value: Any) -> None:
        self.replaced.append(tuple(path))

    def delete(self, path: Sequence[str]) -> None:
        self.replaced.append(tuple(path))

    def incr(self, path: Sequence[str], by: int | float) -> None:
        self.increments[tuple(path)] = self.increments.get(tuple(path), 0) + by

    def push(self, path: Sequence[str], value: Any, trim: int | None = None) -> None:
        self.pushes.append((tuple(path), value, trim))

    def init(self, path: Sequence[str], value: Any) -> None:
        self.inits[tuple(path)] = value

    def __bool__(self) -> bool:
        return bool(self.cleared or self.replaced or self.increments or self.pushes or self.inits)


def escape(part: str) -> str:
    if not isinstance(part, str):
        raise DocumentError(f"key {part!r} is not a str")
    return part.replace("\\", "\\\\").replace(".", "\\.") or "\\0"


def unescape(part: str) -> str:
    return "" if part == "\\0" else part.replace("\\.", ".").replace("\\\\", "\\")


def name_of(path: Sequence[str]) -> bytes:
    return ".".join(map(escape, path)).encode()


def flatten(doc: Mapping[str, Any], above: tuple[str, ...], out: dict[bytes, bytes]) -> None:
    for key, value in doc.items():
        path = (*above, key)
        if isinstance(value, dict) and value and not str(key).startswith("_"):
            flatten(value, path, out)
            continue
        try:
            out[name_of(path)] = json.dumps(value).encode()
        except (TypeError, ValueError) as error:
            raise DocumentError(f"{'.'.join(map(str, path))}: {error}") from error


def stamp(number: int) -> bytes:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return b" " + (digits or "0").encode()


def stamp_of(leaf: bytes) -> int:
    mark = split(leaf)[1]
    return int(mark, 36) if mark else 0


def encode(doc: Mapping[str, Any]) -> dict[bytes, bytes]:
    flat: dict[bytes, bytes] = {}
    flatten(doc, (), flat)
    return {name: text + stamp(at) for at, (name, text) in enumerate(flat.items(), 1)}


def decode(fields: Mapping[bytes, bytes]) -> tuple[dict[str, Any], Base]:
    doc: dict[str, Any] = {}
    for name, leaf in sorted(fields.items(), key=lambda row: stamp_of(row[1])):
        if name.startswith(META):
            continue
        place = doc
        parts = [unescape(part) for part in split_path(name.decode())]
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        value = json.loads(split(leaf)[0])
        if not (value == {} and isinstance(place.get(parts[-1]), dict)):
            place[parts[-1]] = value
    return doc, Base(fields)


def split_path(name: str) -> list[str]:
    parts: list[str] = []
    part, at = "", 0
    while at < len(name):
        if name[at] == "\\":
            part, at = part + name[at : at + 2], at + 2
        elif name[at] == ".":
            parts, part, at = [*parts, part], "", at + 1
        else:
            part, at = part + name[at], at + 1
    return [*parts, part]


def encode_changes(base: Base, doc: Mapping[str, Any], intents: Intents) -> Changes:
    changes = Changes()
    old = {n: leaf for n, leaf in base.fields.items() if not n.startswith(META)}
    last = max(map(stamp_of, old.values()), default=0)
    if intents.cleared:
        changes.delete_trees.append(b"")
        old = {}
    for path in intents.replaced:
        name = name_of(path)
        changes.delete_trees.append(name)
        old = {n: leaf for n, leaf in old.items() if n != name and not n.startswith(name + b".")}
    flat: dict[bytes, bytes] = {}
    flatten(doc, (), flat)
    explicit = {name_of(path) for path in (*intents.increments, *intents.inits)}
    explicit |= {name_of(path) for path, _, _ in intents.pushes}
    for name, text in flat.items():
        was = old.get(name)
        if name in explicit or (was is not None and split(was)[0] == text):
            continue
        last += was is None
        changes.set[name] = text + (split(was)[1] if was is not None else stamp(last))
    for name in old:
        if name not in flat and name not in explicit:
            gone = covered(name, flat)
            (changes.delete_trees if gone == name else changes.delete).append(gone)
    changes.delete_trees = list(dict.fromkeys(changes.delete_trees))
    changes.delete = [n for n in changes.delete if not any(o == n for o in flat)]
    for path, by in intents.increments.items():
        changes.increment[name_of(path)] = by
    for path, value in intents.inits.items():
        changes.init[name_of(path)] = json.dumps(value).encode() + stamp(last + 1)
    for path, value, trim in intents.pushes:
        changes.push.append(Push(name_of(path), json.dumps(value).encode(), trim))
    return changes


def covered(name: bytes, flat: Mapping[bytes, bytes]) -> bytes:
    """The highest path at or above `name` that holds nothing any more."""
    parts = name.split(b".")
    for length in range(1, len(parts)):
        above = b".".join(parts[:length])
        if not any(n == above or n.startswith(above + b".") for n in flat):
            return above
    return name


def new_id(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def handle(id: str, namespace: str, keys: Sequence[bytes] = ()) -> bytes:
    return handles(id, namespace, keys)[0]


def handles(id: str, namespace: str, keys: Sequence[bytes] = ()) -> list[bytes]:
    text = f"sessile\0{namespace}\0{id}".encode()
    if not keys:
        return [hashlib.sha256(text).hexdigest().encode()]
    return [hmac.new(key, text, "sha256").hexdigest().encode() for key in keys]


def well_formed(id: str, alphabet: str, lengths: Sequence[int]) -> bool:
    return len(id) in lengths and all(one in alphabet for one in id)
