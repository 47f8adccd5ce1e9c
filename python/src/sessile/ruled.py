"""Engines that are `sessile.rules` over a transaction of their own, and their async face.

`Ruled` turns a view into `sessile.contract.Engine`; `Async` turns such an engine into
`AsyncEngine`: in place where nothing can wait (`memory:`), else in a thread (`file:`).
What always holds: one operation is one view, and one call of one rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from sessile import rules
from sessile.contract import Changes, Engine, Life, Listed, Loaded, Rotated

__all__ = ["Async", "Ruled"]

T = TypeVar("T")


class Ruled:
    """An engine that opens a view of its store and lets `sessile.rules` do the rest."""

    def view(self) -> AbstractContextManager[rules.View]:
        """One transaction: what it wrote counts if its block ends without an exception."""
        raise NotImplementedError

    def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        *,
        user: str | None = None,
        limit: int | None = None,
        token: bytes | None = None,
    ) -> int | None:
        with self.view() as view:
            return rules.create(view, key, fields, life, user, limit, token)

    def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None:
        with self.view() as view:
            return rules.load(view, key, slide)

    def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        token: bytes | None = None,
    ) -> int | None:
        with self.view() as view:
            return rules.save(view, key, changes, life, expected, user, token)

    def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        limit: int | None = None,
        grace: int = 0,
        hard: bool = False,
        create: Mapping[bytes, bytes] | None = None,
        token: bytes | None = None,
    ) -> int | None:
        with self.view() as view:
            return rules.rotate(
                view,
                key,
                new_key,
                changes,
                life,
                expected=expected,
                user=user,
                limit=limit,
                grace=grace,
                hard=hard,
                fallback=create,
                token=token,
            )

    def end(self, *keys: bytes) -> int:
        with self.view() as view:
            return rules.end(view, keys)

    def touch(self, key: bytes) -> bool:
        with self.view() as view:
            return rules.touch(view, key)

    def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
        with self.view() as view:
            return rules.sessions_of(view, user, names)

    def end_all(self, user: str, *, keep: bytes | None = None) -> int:
        with self.view() as view:
            return rules.end_all(view, user, keep)

    def exists(self, key: bytes) -> bool:
        with self.view() as view:
            return rules.exists(view, key)

    def ping(self) -> None:
        with self.view():
            pass

    def close(self) -> None:
        """Nothing to give back."""


class Async:
    """`sessile.contract.AsyncEngine` over a synchronous engine."""

    def __init__(self, engine: Engine, *, waits: bool) -> None:
        """`waits` says that calls may take time, so that they need a thread."""
        self.engine = engine
        self._waits = waits

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.to_thread(call) if self._waits else call()

    async def create(
        self,
        key: bytes,
        fields: Mapping[bytes, bytes],
        life: Life,
        *,
        user: str | None = None,
        limit: int | None = None,
        token: bytes | None = None,
    ) -> int | None:
        return await self._run(
            lambda: self.engine.create(key, fields, life, user=user, limit=limit, token=token)
        )

    async def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None:
        return await self._run(lambda: self.engine.load(key, slide=slide))

    async def save(
        self,
        key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        token: bytes | None = None,
    ) -> int | None:
        return await self._run(
            lambda: self.engine.save(key, changes, life, expected=expected, user=user, token=token)
        )

    async def rotate(
        self,
        key: bytes,
        new_key: bytes,
        changes: Changes,
        life: Life,
        *,
        expected: int | None = None,
        user: str | None = None,
        limit: int | None = None,
        grace: int = 0,
        hard: bool = False,
        create: Mapping[bytes, bytes] | None = None,
        token: bytes | None = None,
    ) -> int | None:
        return await self._run(
            lambda: self.engine.rotate(
                key,
                new_key,
                changes,
                life,
                expected=expected,
                user=user,
                limit=limit,
                grace=grace,
                hard=hard,
                create=create,
                token=token,
            )
        )

    async def end(self, *keys: bytes) -> int:
        return await self._run(lambda: self.engine.end(*keys))

    async def touch(self, key: bytes) -> bool:
        return await self._run(lambda: self.engine.touch(key))

    async def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
        return await self._run(lambda: self.engine.sessions_of(user, names))

    async def end_all(self, user: str, *, keep: bytes | None = None) -> int:
        return await self._run(lambda: self.engine.end_all(user, keep=keep))

    async def exists(self, key: bytes) -> bool:
        return await self._run(lambda: self.engine.exists(key))

    async def ping(self) -> None:
        await self._run(self.engine.ping)

    async def close(self) -> None:
        await self._run(self.engine.close)
