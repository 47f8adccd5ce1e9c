"""The engine `file:PATH`: sessions in one SQLite file, for a single machine and for tests.

Where no server can run and one file may be shared by the processes of a machine. The rules are
`sessile.rules`, one write transaction for each operation that may write; SQLite's own locks keep
processes apart. What always holds: an operation is one transaction, synced to the disk as
`sync` says; connections belong to one thread and one process; sessions whose time has come are
never seen, and removed a few at a time by those who write. Not for network file systems, and not
for many writers at once: writes wait for each other.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sessile import rules
from sessile.errors import ConfigurationError, SessionUnavailable
from sessile.promises import EVERYWHERE, INDEXED, Promise
from sessile.ruled import Async, Ruled
from sessile.urls import Address

__all__ = ["FileEngine", "open_async_engine", "open_engine"]

FORMAT = 1
SWEEP_MAX = 20
"""How many dead entries one write removes at most."""
SYNCS = {"full": "FULL", "normal": "NORMAL", "off": "OFF"}
PAUSE = 0.005
"""Seconds between two tries to get a lock that SQLite doesn't wait for."""
TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, user TEXT NOT NULL, ends INTEGER, entry BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS users ON entries (user) WHERE user <> '';
CREATE INDEX IF NOT EXISTS ends ON entries (ends) WHERE ends IS NOT NULL;
CREATE TABLE IF NOT EXISTS counter (version INTEGER NOT NULL);
"""


def now_ms() -> int:
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class FileEngine(Ruled):
    """`sessile.contract.Engine` over a SQLite file. `clock` answers Unix milliseconds."""

    promises = EVERYWHERE | INDEXED | {Promise.EVICTION, Promise.RESTART}

    def __init__(
        self,
        path: Path,
        *,
        timeout: float = 5.0,
        sync: str = "normal",
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._path = path
        self._timeout = timeout
        self._sync = SYNCS[sync]
        self._clock = clock
        self._local = threading.local()
        self._generation = 0
        self._inherited: list[sqlite3.Connection] = []

    @contextmanager
    def view(self) -> Iterator[rules.View]:
        try:
            database = self._database()
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise SessionUnavailable(f"the file of sessions can't be used: {error}") from error
        try:
            yield FileView(database, self._clock())
            database.execute("COMMIT")
        except BaseException as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise SessionUnavailable(f"the file of sessions can't be used: {error}") from error
            raise

    def close(self) -> None:
        """Closes this thread's connection; others close when they are used next, or end."""
        self._generation += 1
        database = getattr(self._local, "database", None)
        if database is not None and self._local.pid == os.getpid():
            database.close()
        self._local.database = None

    def _database(self) -> sqlite3.Connection:
        local = self._local
        mine = (os.getpid(), self._generation)
        if getattr(local, "database", None) is None or (local.pid, local.generation) != mine:
            stale = getattr(local, "database", None)
            if stale is not None and local.pid == mine[0]:
                stale.close()
            elif stale is not None:
                # SQLite forbids a child to touch, even to close, what its parent opened.
                self._inherited.append(stale)
            local.database = self._open()
            local.pid, local.generation = mine
        found: sqlite3.Connection = local.database
        return found

    def _open(self) -> sqlite3.Connection:
        # Only the owner may read sessions; SQLite gives its side files the same rights.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(
            self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._use_wal(database)
            database.execute(f"PRAGMA synchronous = {self._sync}")
            (format_found,) = database.execute("PRAGMA user_version").fetchone()
            if format_found not in (0, FORMAT):
                raise SessionUnavailable("the file of sessions was written by another version")
            if not format_found:
                create_tables(database)
        except BaseException:
            database.close()
            raise
        return database

    def _use_wal(self, database: sqlite3.Connection) -> None:
        # This one statement doesn't wait for a lock by itself, whatever the connection's timeout.
        ends = time.monotonic() + self._timeout
        while True:
            try:
                database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > ends:
                    raise
            time.sleep(PAUSE)


def create_tables(database: sqlite3.Connection) -> None:
    """Makes the tables, unless another process was faster."""
    database.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";\n"):
        database.execute(statement)
    database.execute("INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter)")
    database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("COMMIT")


class FileView:
    """`rules.View` of one transaction."""

    def __init__(self, database: sqlite3.Connection, now: int) -> None:
        self.now = now
        self._database = database
        self._swept = False

    def get(self, key: bytes) -> rules.Entry | None:
        row = self._database.execute(
            "SELECT entry FROM entries WHERE key = ? AND (ends IS NULL OR ends > ?)",
            (key, self.now),
        ).fetchone()
        return None if row is None else unpacked(row[0])

    def put(self, key: bytes, entry: rules.Entry) -> None:
        self._sweep()
        user = entry.user if isinstance(entry, rules.Record) else ""
        self._database.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
            (key, user, rules.deadline(entry), packed(entry)),
        )

    def drop(self, key: bytes) -> None:
        self._database.execute("DELETE FROM entries WHERE key = ?", (key,))

    def keys_of(self, user: str) -> Iterable[bytes]:
        rows = self._database.execute("SELECT key FROM entries WHERE user = ?", (user,))
        return [key for (key,) in rows.fetchall()]

    def next_version(self, last: int) -> int:
        self._database.execute("UPDATE counter SET version = max(version, ?) + 1", (last,))
        version: int = self._database.execute("SELECT version FROM counter").fetchone()[0]
        return version

    def _sweep(self) -> None:
        if not self._swept:
            self._swept = True
            self._database.execute(
                "DELETE FROM entries WHERE key IN"
                " (SELECT key FROM entries WHERE ends <= ? LIMIT ?)",
                (self.now, SWEEP_MAX),
            )


def packed(entry: rules.Entry) -> bytes:
    """An entry as JSON; bytes are written as Latin-1 text, so that all of them can be."""
    if isinstance(entry, rules.Tombstone):
        kind: list[object] = ["tombstone", entry.until]
    elif isinstance(entry, rules.Alias):
        kind = ["alias", text(entry.target), entry.user, entry.until]
    else:
        kind = [
            "record",
            {text(name): text(value) for name, value in entry.fields.items()},
            entry.version,
            entry.created,
            entry.base,
            entry.seen,
            entry.user,
            entry.idle,
            entry.absolute,
            [(token.hex(), version, until) for token, version, until in entry.tokens],
        ]
    return json.dumps(kind, separators=(",", ":"), ensure_ascii=False).encode()


def unpacked(data: bytes) -> rules.Entry:
    """The entry that `packed` wrote."""
    kind, *rest = json.loads(data)
    if kind == "tombstone":
        return rules.Tombstone(*rest)
    if kind == "alias":
        target, user, until = rest
        return rules.Alias(target.encode("latin-1"), user, until)
    fields, version, created, base, seen, user, idle, absolute, tokens = rest
    return rules.Record(
        {name.encode("latin-1"): value.encode("latin-1") for name, value in fields.items()},
        version,
        created,
        base,
        seen,
        user,
        idle,
        absolute,
        tuple((bytes.fromhex(token), answer, until) for token, answer, until in tokens),
    )


def text(data: bytes) -> str:
    return data.decode("latin-1")


def open_engine(address: Address) -> FileEngine:
    """The engine at `file:PATH` or `file:///PATH`; no I/O."""
    address.only("timeout", "sync")
    if address.netloc not in ("", "localhost") or not address.path:
        raise ConfigurationError("file URL: must be file:PATH or file:///ABSOLUTE/PATH")
    sync = address.options.get("sync", "normal")
    if sync not in SYNCS:
        raise ConfigurationError(f"file URL: option sync must be one of {', '.join(SYNCS)}")
    path = Path(address.path)
    if not path.parent.is_dir():
        raise ConfigurationError(f"file URL: there is no folder {path.parent}")
    return FileEngine(path, timeout=address.number("timeout", 5.0), sync=sync)


def open_async_engine(address: Address) -> Async:
    """The engine at `file:PATH` for asyncio: each operation in a thread."""
    return Async(open_engine(address), waits=True)
