"""Documents: a nested dict as leaves, and what changed in it as a patch.

```text
{"cart": {"pear": 2, "plum": {}}, "seen": [1, 2]}

cart.pear   2 0          a leaf: JSON text, a space, its order stamp in base 36
cart.plum   {} 1         the marker of an empty dict
seen        [1,2] 2      lists are leaves
```

Leaves of one document may be changed by many at once, so order can't follow from where they
stand: each carries a stamp, and decoding sorts by it. What always holds: decoding gives back what
was encoded, types and order of keys included; a patch touches only what changed, and what it
deletes goes with all below it, leaves that were never seen here too. The native module, where it
was built, answers the common cases, and SESSILE_PURE=1 does without; answers are the same.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from sessile import native
from sessile.contract import Changes, Push
from sessile.errors import DocumentError
from sessile.paths import DEPTH_MAX, METADATA, PATH_MAX, Component, Path, component, join, show
from sessile.paths import split as split_path
from sessile.values import Atomic
from sessile.values import decode as decode_value
from sessile.values import encode as encode_value

__all__ = ["LEAVES_MAX", "Base", "Codec", "Intents", "decode", "encode", "encode_changes"]

LEAVES_MAX = 4096
"""Leaves of a document, at most."""
MARKER = b"{}"

_STAMPED = re.compile(rb"(.+) ([0-9a-z]{1,12})", re.DOTALL)
_DIGITS = b"0123456789abcdefghijklmnopqrstuvwxyz"
_UNORDERED = 36**12

Leaves = Mapping[bytes, tuple[bytes, int]]
"""By name: the JSON text and the stamp."""
Place = tuple[int, bytes]
"""Where a leaf stands among all: by its stamp, and by its name if others have the same stamp."""

_native = native.module

_START: Place = (-1, b"")
_NOWHERE: Place = (_UNORDERED + 1, b"")


class Base:
    """The leaves as they were last loaded or saved. They are taken apart when somebody asks."""

    __slots__ = ("_fields", "_kept", "_known", "_later")

    def __init__(self, fields: Mapping[bytes, bytes] | None = None) -> None:
        self._fields: dict[bytes, bytes] | None = dict(fields or {})
        self._later: tuple[Base, Changes] | None = None
        self._known: tuple[dict[bytes, tuple[bytes, int]], int] | None = None
        self._kept: Any = None

    @classmethod
    def _made(cls, kept: Any = None, later: tuple[Base, Changes] | None = None) -> Base:
        base = cls.__new__(cls)
        base._fields, base._later, base._known, base._kept = None, later, None, kept
        return base

    @property
    def leaves(self) -> dict[bytes, tuple[bytes, int]]:
        """By name: the JSON text and the stamp. What has no stamp comes last."""
        return self._taken_apart()[0]

    @property
    def next_stamp(self) -> int:
        """Larger than every stamp."""
        return self._taken_apart()[1]

    def advanced(self, changes: Changes) -> Base:
        """The base after these changes were saved, as far as can be known from here."""
        return self._made(later=(self, changes))

    def native(self) -> Any:
        """The leaves as the native module holds them; `None` if it doesn't take them."""
        if self._kept is None and _native is not None:
            self._kept = _native.Leaves.of(self.fields())
        return self._kept

    def fields(self) -> dict[bytes, bytes]:
        """The leaves as they are stored."""
        if self._fields is None and self._later is not None:
            from sessile.merge import merge

            before, changes = self._later
            self._fields, self._later = merge(before.fields(), changes), None
        if self._fields is None:
            self._fields = {name: stamped(*leaf) for name, leaf in self.leaves.items()}
        return self._fields

    def _taken_apart(self) -> tuple[dict[bytes, tuple[bytes, int]], int]:
        if self._known is None:
            kept = self._kept
            if kept is not None:
                pairs = kept.items().items()
            else:
                pairs = ((name, taken_apart(leaf)) for name, leaf in self.fields().items())
            leaves = {name: leaf for name, leaf in pairs if is_leaf(name)}
            stamps = [stamp for _, stamp in leaves.values() if stamp < _UNORDERED]
            self._known = leaves, max(stamps, default=-1) + 1
        return self._known


class Intents:
    """What a request said that it wants, beside what it changed in the document itself.

    A leaf that an intent is about is left to it. Whoever makes the same change in the document, so
    that it can be read back, notes what stands there then: if the leaf holds anything else when
    the patch is made, it was assigned afterwards, and that is what counts.
    """

    __slots__ = ("cleared", "increments", "inits", "noted", "pushes", "replaced")

    def __init__(self) -> None:
        self.cleared = False
        self.replaced: list[Path] = []
        self.increments: dict[Path, int | float] = {}
        self.pushes: list[tuple[Path, Any, int | None]] = []
        self.inits: dict[Path, Any] = {}
        self.noted: dict[Path, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self.cleared or self.replaced or self.increments or self.pushes or self.inits)

    def clear(self) -> None:
        """Everything goes first, leaves that were never seen too."""
        Intents.__init__(self)
        self.cleared = True

    def replace(self, path: Sequence[Component], value: Any = None) -> None:
        """What stands there goes first as a whole; what the document has there is set anew."""
        self.replaced.append(tuple(path))

    def delete(self, path: Sequence[Component]) -> None:
        """What stands there goes as a whole."""
        self.replaced.append(tuple(path))

    def incr(self, path: Sequence[Component], by: int | float) -> None:
        """A number grows, whatever it is by then."""
        at = tuple(path)
        self.increments[at] = self.increments.get(at, 0) + by

    def push(self, path: Sequence[Component], value: Any, trim: int | None = None) -> None:
        """A list gets one more value, and keeps its last `trim`."""
        self.pushes.append((tuple(path), value, trim))

    def init(self, path: Sequence[Component], value: Any) -> None:
        """A leaf is set if it isn't there by then."""
        self.inits[tuple(path)] = value

    def note(self, path: Sequence[Component], value: Any) -> None:
        """Says what the document holds there after an intent."""
        self.noted[tuple(path)] = encode_value(value, tuple(path))

    def then(self, later: Intents) -> Intents:
        """These and later ones, as if all had been said in one."""
        if later.cleared:
            return later
        self.replaced += later.replaced
        for path, by in later.increments.items():
            self.incr(path, by)
        self.pushes += later.pushes
        self.inits.update(later.inits)
        self.noted.update(later.noted)
        return self


class Codec:
    """Documents with one set of rules.

    `atomic` are patterns (as of `fnmatch`) of top-level keys, and of dotted paths, whose dicts are
    one leaf; keys that begin with `_` always are. `size_max` bounds the bytes of all leaves.
    """

    __slots__ = ("atomic", "size_max")

    def __init__(self, *, atomic: Sequence[str] = (), size_max: int | None = None) -> None:
        self.atomic = tuple(atomic)
        self.size_max = size_max

    def decode(self, fields: Mapping[bytes, bytes]) -> tuple[dict[Component, Any], Base]:
        """The document of a session's fields, and the base for what changes in it."""
        if _native is not None and (found := _native.decode(fields)) is not None:
            return found[0], Base._made(kept=found[1])
        base = Base({name: leaf for name, leaf in fields.items() if not is_note(name)})
        document: dict[Component, Any] = {}
        last = sorted(base.leaves.items(), key=lambda leaf: (leaf[1][1], leaf[0]))
        for name, (text, _) in last:
            place(document, split_path(name), text)
        return document, base

    def encode(self, document: Mapping[Any, Any]) -> dict[bytes, bytes]:
        """The fields of a new session."""
        return self.changes(Base(), document).set

    def changes(
        self, base: Base, document: Mapping[Any, Any], intents: Intents | None = None
    ) -> Changes:
        """What has to be changed so that a session with this base becomes this document."""
        intents = intents or Intents()
        if not intents and (kept := base.native()) is not None:
            is_atomic = self.is_atomic if self.atomic else None
            found = _native.changes(kept, document, is_atomic, self.size_max)
            if found is not None:
                return Changes(set=found[0], delete_trees=found[1])
        changes = Changes()
        if intents.cleared:
            changes.delete_trees.append(b"")
        elif intents.replaced:
            changes.delete_trees.extend(dict.fromkeys(map(join, intents.replaced)))
        known = remaining(base, changes.delete_trees)
        seen = {} if intents.cleared else base.leaves
        walk = _Walk(self, known, seen, base.next_stamp)
        walk.children(document, ())
        self._check_bounds(walk.texts)
        self._intend(intents, walk, changes)
        gone(known, walk, document, changes)
        changes.set.update(walk.changed(set(changes.delete_trees)))
        return changes

    def is_atomic(self, path: Path, value: Mapping[Any, Any]) -> bool:
        """Whether a dict at this path is one leaf."""
        last = path[-1]
        if isinstance(value, Atomic) or (isinstance(last, str) and last.startswith("_")):
            return True
        if not self.atomic:
            return False
        dotted = ".".join(map(str, path))
        return any(fnmatchcase(dotted, pattern) for pattern in self.atomic)

    def _check_bounds(self, texts: Mapping[bytes, bytes]) -> None:
        if len(texts) > LEAVES_MAX:
            raise DocumentError(f"the session has {len(texts)} leaves, {LEAVES_MAX} are the most")
        if self.size_max is not None:
            size = sum(len(name) + len(text) for name, text in texts.items())
            if size > self.size_max:
                raise DocumentError(f"the session has {size} bytes, {self.size_max} are the most")

    def _intend(self, intents: Intents, walk: _Walk, changes: Changes) -> None:
        """Says what was intended, where nothing was assigned afterwards."""

        def stands(path: Path) -> bytes | None:
            name = join(path)
            if path in intents.noted and walk.texts.get(name) != intents.noted[path]:
                return None
            walk.kept.add(name)
            return name

        for path, value in intents.inits.items():
            if name := stands(path):
                stamp = walk.stamps[name] if name in walk.stamps else walk.new_stamp()
                changes.init[name] = stamped(encode_value(value, path), stamp)

        def begin(name: bytes, text: bytes) -> None:
            # What the store makes of nothing has no stamp, and so no place among the others.
            if name not in walk.known and name in walk.stamps and name not in changes.init:
                changes.init[name] = stamped(text, walk.stamps[name])

        for path, by in intents.increments.items():
            if name := stands(path):
                begin(name, b"0")
                changes.increment[name] = by
        for path, value, trim in intents.pushes:
            if name := stands(path):
                begin(name, b"[]")
                changes.push.append(Push(name, encode_value(value, path), trim))


class _Walk:
    """One walk over a document: its leaves, and stamps that keep their order.

    A leaf that didn't change is written again only if its key was moved. So what stands where
    something else stood takes over its stamp, and a dict whose first leaves are gone gets a
    marker with the stamp of the first.
    """

    __slots__ = (
        "above",
        "anchors",
        "codec",
        "kept",
        "known",
        "markers",
        "names",
        "next_stamp",
        "old_places",
        "seen",
        "spent",
        "stamps",
        "texts",
    )

    def __init__(self, codec: Codec, known: Leaves, seen: Leaves, stamp: int) -> None:
        self.codec = codec
        self.known = known
        """The leaves that the patch hasn't deleted."""
        self.seen = seen
        """All whose places count."""
        self.next_stamp = stamp
        self.names: list[bytes] = []
        self.texts: dict[bytes, bytes] = {}
        self.stamps: dict[bytes, int] = {}
        self.above: set[int] = set()
        self.kept: set[bytes] = set()
        self.old_places: dict[bytes, Place] | None = None
        self.anchors: dict[bytes, int] = {}
        """Markers that are set beside children, to keep a dict's place."""
        self.markers: list[tuple[int, bytes]] = []
        """Markers beside children that are there: how many leaves came before, and the name."""
        self.spent: set[bytes] = set()
        """Those of them that would keep a place that isn't right any more."""

    def children(self, value: Mapping[Any, Any], path: Path, prefix: bytes = b"") -> Place:
        """Takes in all below a dict; the first place among it."""
        if len(path) >= DEPTH_MAX:
            raise DocumentError(
                f"{show(path)} is nested too deeply, {DEPTH_MAX} dicts are the most"
            )
        if id(value) in self.above:
            raise DocumentError(f"{show(path)} contains itself")
        self.above.add(id(value))
        row: list[tuple[bytes, Place]] = []
        floors: list[Place] = []  # of the row, as far as was asked; see `anchored`
        last = _START
        for key, item in value.items():
            if type(key) is not str and (type(key) is not int):
                key = plain_key(key, path)
            start = len(self.names)
            name = prefix + component(key)
            place = self.child(item, (*path, key), name)
            first = self.names[start]
            if self.seen and (first == name or first not in self.known):
                place = self.inherited(name, start, place, last)
            if place <= last and not self.anchored(row, floors, place):
                place = self.restamp(start)
            row.append((name, place))
            if place[0] < _UNORDERED:  # nothing can stand behind what has no stamp
                last = place
        self.above.discard(id(value))
        return row[0][1] if row else _NOWHERE

    def child(self, value: Any, path: Path, name: bytes) -> Place:
        if len(name) > PATH_MAX:
            raise DocumentError(f"the path of {show(path)[:60]}... is longer than {PATH_MAX} bytes")
        if isinstance(value, dict) and not self.codec.is_atomic(path, value):
            if value and not self.is_whole(name):
                return self.below(value, path, name)
            text = encode_value(value, path) if value else MARKER
        else:
            text = encode_value(value, path)
        self.names.append(name)
        self.texts[name] = text
        known = self.known.get(name)
        stamp = self.new_stamp() if known is None else known[1]
        self.stamps[name] = stamp
        return stamp, name

    def is_whole(self, name: bytes) -> bool:
        """Whether a dict was stored as one leaf. It stays one: to read it must not change it."""
        known = self.known.get(name)
        return known is not None and known[0].startswith(b"{") and known[0] != MARKER

    def below(self, value: Mapping[Any, Any], path: Path, name: bytes) -> Place:
        """Takes in a dict that has something in it."""
        start = len(self.names)
        first = self.children(value, path, name + b".")
        marker = self.known.get(name)
        if marker is None or marker[0] != MARKER:
            return first
        self.markers.append((start, name))
        return min(first, (marker[1], name))

    def inherited(self, name: bytes, start: int, place: Place, last: Place) -> Place:
        """The place of a child whose first leaf is new: where the child stood, if it fits."""
        old = self.old_place(name)
        if old is not None and last < (old[0], self.names[start]) < place:
            self.stamps[self.names[start]] = old[0]
            return old[0], self.names[start]
        return place

    def anchored(self, row: list[tuple[bytes, Place]], floors: list[Place], limit: Place) -> bool:
        """Whether what slid behind `limit` could be held where it stood.

        A first leaf that is written anyway takes the old stamp; a dict gets a marker with it.
        All up to a child fit, or can be held, before whatever is above its floor: so nobody walks
        back through a long row in vain. To hold some of them changes no floor.
        """
        for child, place in row[len(floors) :]:
            where = self.held_at(child, place)
            holds = where is not None and (not floors or floors[-1] < where)
            floors.append(min(where, place) if where is not None and holds else place)
        if floors and not floors[-1] < limit:
            return False
        for at in range(len(row) - 1, -1, -1):
            name, place = row[at]
            if place < limit:
                break
            where = self.held_at(name, place)
            assert where is not None  # or the floor were above the limit
            stamps = self.anchors if where[1] == name and name not in self.texts else self.stamps
            stamps[where[1]] = where[0]
            row[at], limit = (name, where), where
        return True

    def held_at(self, name: bytes, place: Place) -> Place | None:
        """Where a child that is at `place` would be held; `None` if nothing can hold it."""
        old, first = self.old_place(name), place[1]
        is_new = first in self.texts and first not in self.known
        if old is None or (name in self.texts and not is_new):
            return None
        return old[0], first if is_new else name

    def old_place(self, name: bytes) -> Place | None:
        """Where a leaf, or the first of all below it, stood in the base."""
        if self.old_places is None:
            self.old_places = {}
            for leaf, (_, stamp) in self.seen.items():
                end = len(leaf)
                while end > 0:
                    top, place = leaf[:end], (stamp, leaf)
                    if place < self.old_places.get(top, _NOWHERE):
                        self.old_places[top] = place
                    end = leaf.rfind(b".", 0, end)
        return self.old_places.get(name)

    def restamp(self, start: int) -> Place:
        """Moves what was taken in since `start` to the end; the first place."""
        names = self.names[start:]
        for name in names:
            self.stamps[name] = self.new_stamp()
        while self.markers and self.markers[-1][0] >= start:
            self.spent.add(self.markers.pop()[1])
        if self.anchors:
            for name in names:
                while name:
                    self.anchors.pop(name, None)
                    name = name.rpartition(b".")[0]
        return self.stamps[names[0]], names[0]

    def new_stamp(self) -> int:
        self.next_stamp += 1
        return self.next_stamp - 1

    def changed(self, trees: Container[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The leaves that aren't as they were, or are deleted by the patch itself."""
        for name, stamp in self.anchors.items():
            yield name, stamped(MARKER, stamp)
        for name, text in self.texts.items():
            leaf = (text, self.stamps[name])
            known = self.known.get(name)
            if name in self.kept or (known == leaf and name not in trees):
                continue
            if known is None or known[1] != leaf[1] or name in trees or rewritten(known[0]) != text:
                yield name, stamped(*leaf)


def rewritten(text: bytes) -> bytes:
    """A JSON text that somebody else wrote, as it would stand if it had been written here."""
    return encode_value(decode_value(text))


def gone(
    known: Leaves,
    walk: _Walk,
    document: Mapping[Any, Any],
    changes: Changes,
) -> None:
    """Says which leaves and dicts aren't there any more."""
    trees: set[bytes] = set()
    keys: dict[Path, set[Component]] = {}
    marked = above_new_markers(walk)
    for name, (text, _) in known.items():
        if name in walk.texts or name in walk.kept:
            continue
        path = split_path(name)
        depth, there = reach(document, path, walk.codec)
        if there is not None:
            top_name = join(path[:depth])
            if walk.texts.get(top_name) != MARKER:
                # What is set goes without saying, but markers take no value away.
                if name in walk.spent or (text != MARKER and name in marked):
                    changes.delete.append(name)
                continue
            # A dict emptied of several keys was cleared. Of a single one that may just have been
            # taken out, and what others have put in meanwhile stays.
            keys = keys or keys_below(known)
            if len(keys[path[:depth]]) > 1:
                trees.add(top_name)
                continue
        # A leaf goes as a tree: in the meantime another request may have made it a dict.
        trees.add(join(path[: depth + 1]))
    for name in [name for name in walk.texts if walk.texts[name] == MARKER]:
        # In the place of a value. Should another request have made that a dict, it may stay.
        if name in known and rewritten(known[name][0]) != MARKER:
            changes.delete.append(name)
    changes.delete_trees.extend(sorted(trees))
    changes.delete[:] = [name for name in changes.delete if name not in trees]


def above_new_markers(walk: _Walk) -> set[bytes]:
    """The names below which there are empty dicts that weren't there."""
    names: set[bytes] = set()
    for name, text in walk.texts.items():
        if text == MARKER and name not in walk.known:
            end = name.find(b".")
            while end >= 0:
                names.add(name[:end])
                end = name.find(b".", end + 1)
    return names


def keys_below(known: Leaves) -> dict[Path, set[Component]]:
    """Of each dict that was known the keys in it."""
    keys: dict[Path, set[Component]] = {}
    for path in map(split_path, known):
        for depth, key in enumerate(path):
            keys.setdefault(path[:depth], set()).add(key)
    return keys


def reach(document: Mapping[Any, Any], path: Path, codec: Codec) -> tuple[int, Any]:
    """How far a path leads into a document: to a leaf or the dict at its end, or to nothing."""
    here: Any = document
    for depth, key in enumerate(path):
        if key not in here:
            return depth, None
        here = here[key]
        at = depth + 1
        is_dict = isinstance(here, dict) and not codec.is_atomic(path[:at], here)
        if not is_dict:
            return at, ...
        if not here:
            return at, here
    return len(path), here


def plain_key(key: Any, path: Path) -> Component:
    """A key of a derived class as what it is; DocumentError for what is no key."""
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return int(key)
    raise DocumentError(f"{show(path)} has the key {key!r}, which isn't str or int")


def remaining(base: Base, trees: Iterable[bytes]) -> Leaves:
    """The leaves of a base that are left when these trees are gone."""
    left = base.leaves
    for tree in trees:
        below = tree + b"."
        left = {
            name: leaf
            for name, leaf in left.items()
            if tree and name != tree and not name.startswith(below)
        }
    return left


def is_note(name: bytes) -> bool:
    """Whether a field is one that sessions or engines keep beside the leaves: no path begins so."""
    return name.startswith((METADATA, b"\\@"))


def place(document: dict[Component, Any], path: Path, text: bytes) -> None:
    """Puts a leaf into a document. A marker beside children means nothing."""
    here = document
    for part in path[:-1]:
        below = here.get(part)
        if type(below) is not dict:
            below = here[part] = {}
        here = below
    last = path[-1]
    if text == MARKER:
        here.setdefault(last, {})
    elif not isinstance(here.get(last), dict):
        here[last] = decode_value(text)


def is_leaf(name: bytes) -> bool:
    """Whether a field is a leaf. Somebody else's is no part of the document, and left alone."""
    if name.startswith(METADATA):
        return False
    try:
        split_path(name)
    except DocumentError:
        return False
    return True


def taken_apart(leaf: bytes) -> tuple[bytes, int]:
    """The text and the stamp of a leaf as it's stored."""
    found = _STAMPED.fullmatch(leaf)
    return (leaf, _UNORDERED) if found is None else (found[1], int(found[2], 36))


def stamped(text: bytes, stamp: int) -> bytes:
    """A leaf as it's stored."""
    return text if stamp >= _UNORDERED else b"%b %b" % (text, base36(stamp))


def base36(number: int) -> bytes:
    if number < 36:
        return _DIGITS[number : number + 1]
    digits = bytearray()
    while number:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    digits.reverse()
    return bytes(digits)


_PLAIN = Codec()


def decode(fields: Mapping[bytes, bytes]) -> tuple[dict[Component, Any], Base]:
    """`Codec.decode` with no rules of one's own."""
    return _PLAIN.decode(fields)


def encode(document: Mapping[Any, Any]) -> dict[bytes, bytes]:
    """`Codec.encode` with no rules of one's own."""
    return _PLAIN.encode(document)


def encode_changes(
    base: Base, document: Mapping[Any, Any], intents: Intents | None = None
) -> Changes:
    """`Codec.changes` with no rules of one's own."""
    return _PLAIN.changes(base, document, intents)
