"""A disk that forgets: what may be on it when the power goes.

`Disk` follows a server's calls. A file's content is what its last sync left, and the changes since;
a folder's names are those of its last sync, and the changes since. When the power goes, some of
these changes are there and some aren't: none, all, a beginning, or any of them; writes may be torn
at any sector, and a file may have its new size where nothing was written yet.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tracing import Call

SECTOR = 512
PAGE = 4096
WAYS = ("nothing", "all", "beginning", "any")
"""What becomes of what wasn't synced."""


@dataclass(eq=False)
class File:
    """A file, whatever its names."""

    synced: bytes = b""
    changes: list[Change] = field(default_factory=list)
    size: int = 0


@dataclass(eq=False)
class Folder:
    """A folder; its changes stand with the disk's, in their order."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    """What is there for a running program."""
    synced: dict[str, File | Folder] = field(default_factory=dict)


@dataclass
class Change:
    """Bytes that were written at a place, or the size that a file was given."""

    number: int
    at: int
    data: bytes | None


@dataclass
class Names:
    """What one call did to names: None takes one away."""

    number: int
    folder: Folder
    to: dict[str, File | Folder | None]


@dataclass
class Handle:
    what: File | Folder
    at: int = 0
    appends: bool = False


class Disk:
    """The folder `root` and all below it, from the state that it's in now."""

    def __init__(self, root: Path) -> None:
        self.path = os.fsencode(root)
        self.root = taken(root)
        self.renames: list[Names] = []
        self.handles: dict[int, Handle] = {}

    def follow(self, number: int, call: Call) -> File | None:
        """Does what a call did; answers the file whose content it was about."""
        handle = self.handles.get(call.fd)
        name = call.name
        if name == "openat":
            self._open(number, call)
        elif name == "close":
            self.handles.pop(call.fd, None)
        elif name in ("rename", "unlink", "mkdir"):
            self._rename(number, call)
        elif handle is None:
            assert name not in OTHERS or not any(self._where(text) for text in call.texts), call
        elif name in ("fsync", "fdatasync"):
            self._sync(handle.what, call.began)
        elif name == "write":
            self._write(number, handle, call)
        elif name == "pwrite64":
            at = int(call.arguments.rsplit(",", 1)[1])
            self._put_at(number, handle.what, at, call.texts[0][: call.result])
        elif name == "ftruncate":
            size = int(call.arguments.rsplit(",", 1)[1])
            handle.what.changes.append(Change(number, size, None))
            handle.what.size = size
        elif name == "copy_file_range":
            self._copy(number, handle, call)
        elif name == "lseek":
            handle.at = call.result
        else:
            raise AssertionError(f"it uses {name}, of which nothing is known here")
        return handle.what if handle and isinstance(handle.what, File) else None

    def after_power_loss(self, rng: random.Random, ways: tuple[str, str], into: Path) -> None:
        """Writes what may be there when the power goes now to an empty folder. The ways are those
        of names and of content."""
        changed = {id(folder): dict(folder.synced) for folder in folders(self.root)}
        for change in chosen(self.renames, ways[0], rng):
            names = changed.setdefault(id(change.folder), dict(change.folder.synced))
            for name, what in change.to.items():
                if what is None:
                    names.pop(name, None)
                else:
                    names[name] = what
        self._put(self.root, changed, rng, ways[1], into)

    def _put(self, folder: Folder, changed: dict, rng, way: str, into: Path) -> None:
        for name, what in changed.get(id(folder), folder.synced).items():
            if isinstance(what, File):
                (into / name).write_bytes(left(what, way, rng))
            else:
                (into / name).mkdir()
                self._put(what, changed, rng, way, into / name)

    def _where(self, path: bytes) -> tuple[Folder, str] | None:
        """The folder and the name that a path within the root means."""
        if not path.startswith(self.path + b"/"):
            return None
        folder = self.root
        *above, name = path[len(self.path) + 1 :].decode().split("/")
        for part in above:
            folder = folder.names[part]
        return folder, name

    def _open(self, number: int, call: Call) -> None:
        (path,) = call.texts
        self.handles.pop(call.result, None)
        if path == self.path:
            self.handles[call.result] = Handle(self.root)
            return
        where = self._where(path)
        if where is None:
            return
        folder, name = where
        what = folder.names.get(name)
        if what is None:
            what = File()
            self._name(number, folder, {name: what})
        elif "O_TRUNC" in call.arguments:
            what.changes.append(Change(number, 0, None))
            what.size = 0
        self.handles[call.result] = Handle(what, 0, "O_APPEND" in call.arguments)

    def _write(self, number: int, handle: Handle, call: Call) -> None:
        file = handle.what
        at = file.size if handle.appends else handle.at
        data = call.texts[0][: call.result]
        self._put_at(number, file, at, data)
        handle.at = at + len(data)

    def _copy(self, number: int, handle: Handle, call: Call) -> None:
        """From where one file stands to where another one does."""
        _, start, to, at, *_ = call.arguments.split(", ")
        assert start == at == "NULL", call
        whole = applied(handle.what.synced, handle.what.changes)
        data = whole[handle.at : handle.at + call.result]
        assert len(data) == call.result, call
        handle.at += len(data)
        into = self.handles[int(to)]
        self._put_at(number, into.what, into.at, data)
        into.at += len(data)

    def _put_at(self, number: int, file: File, at: int, data: bytes) -> None:
        file.changes.append(Change(number, at, data))
        file.size = max(file.size, at + len(data))

    def _rename(self, number: int, call: Call) -> None:
        places = [self._where(path) for path in call.texts]
        if places[0] is None:
            return
        folder, name = places[0]
        if call.name == "mkdir":
            self._name(number, folder, {name: Folder()})
        elif call.name == "unlink":
            self._name(number, folder, {name: None})
        else:
            assert places[1] is not None and places[1][0] is folder, "renames within a folder only"
            self._name(number, folder, {name: None, places[1][1]: folder.names[name]})

    def _name(self, number: int, folder: Folder, to: dict[str, File | Folder | None]) -> None:
        self.renames.append(Names(number, folder, to))
        for name, what in to.items():
            if what is None:
                folder.names.pop(name, None)
            else:
                folder.names[name] = what

    def _sync(self, what: File | Folder, began: int) -> None:
        """What had returned before the sync began is on the disk."""
        if isinstance(what, File):
            done = [change for change in what.changes if change.number < began]
            what.synced = applied(what.synced, done)
            what.changes = what.changes[len(done) :]
            return
        for change in self.renames:
            if change.folder is what and change.number < began:
                for name, file in change.to.items():
                    if file is None:
                        what.synced.pop(name, None)
                    else:
                        what.synced[name] = file
        self.renames = [
            change for change in self.renames if change.folder is not what or change.number >= began
        ]


OTHERS = ("open", "creat", "truncate", "renameat", "renameat2", "link", "linkat", "unlinkat")
OTHERS += ("mkdirat",)


def taken(path: Path) -> Folder:
    """A folder as it is, all of it on the disk."""
    folder = Folder()
    for entry in path.iterdir():
        if entry.is_dir():
            folder.names[entry.name] = taken(entry)
        else:
            content = entry.read_bytes()
            folder.names[entry.name] = File(content, [], len(content))
    folder.synced = dict(folder.names)
    return folder


def folders(folder: Folder) -> Iterable[Folder]:
    yield folder
    for what in {**folder.synced, **folder.names}.values():
        if isinstance(what, Folder):
            yield from folders(what)


def applied(content: bytes, changes: list[Change]) -> bytes:
    """A file's content after changes."""
    out = bytearray(content)
    for change in changes:
        if change.data is None:
            out = out[: change.at].ljust(change.at, b"\0")
        else:
            out = out.ljust(change.at, b"\0")
            out[change.at : change.at + len(change.data)] = change.data
    return bytes(out)


def chosen(changes: list, way: str, rng: random.Random) -> list:
    """Those of the changes that came to the disk."""
    if way == "nothing":
        return []
    if way == "all":
        return changes
    if way == "beginning":
        return changes[: rng.randrange(len(changes) + 1)]
    return [change for change in changes if rng.randrange(2)]


def left(file: File, way: str, rng: random.Random) -> bytes:
    """What is left of a file's content."""
    if way in ("nothing", "all") or not file.changes:
        return applied(file.synced, chosen(file.changes, way, rng))
    whole = rng.randrange(len(file.changes) + 1)
    content = applied(file.synced, file.changes[:whole])
    if way == "beginning":
        # The next one is torn, at a sector or anywhere.
        torn = file.changes[whole : whole + 1]
        if torn and torn[0].data:
            end = rng.randrange(len(torn[0].data))
            if rng.randrange(2):
                end -= (torn[0].at + end) % SECTOR
            some = torn[0].data[: max(end, 0)]
            content = applied(content, [Change(0, torn[0].at, some)])
        return content
    # Pages come to the disk in any order, and the size before all of them.
    content = bytearray(applied(file.synced, file.changes))
    odds = rng.choice((0.0, 0.3, 0.7))
    for at in sorted(changed_pages(file)):
        if at < len(content) and rng.random() > odds:
            page = file.synced[at : at + PAGE]
            content[at : at + PAGE] = page.ljust(len(content[at : at + PAGE]), b"\0")
    return bytes(content)


def changed_pages(file: File) -> set[int]:
    """Where pages begin that were written since the last sync, or that a new size gave."""
    end = max(len(file.synced), file.size)
    pages = set(range(len(file.synced) // PAGE * PAGE, end, PAGE))
    for change in file.changes:
        if change.data:
            pages.update(range(change.at // PAGE * PAGE, change.at + len(change.data), PAGE))
    return pages
