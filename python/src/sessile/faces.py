# mypy: disable-error-code="no-any-return"
"""The two faces of an engine whose operations are plans: synchronous, and for asyncio.

An engine has `_plans`, which answer a plan for each operation, and `_run`, which carries one out.
What always holds: both faces do the same, and differ only in who moves the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sessile.contract import Changes, Life, Listed, Loaded, Rotated
from sessile.promises import EVERYWHERE, INDEXED, Promise, needs

__all__ = ["AsyncFace", "Face"]


class Face:
    """`sessile.contract.Engine` over plans."""

    _plans: Any
    promises: frozenset[Promise] = EVERYWHERE | INDEXED
    """What holds on this engine; docs/guarantees.md is made from it."""

    def _run(self, plan: Any) -> Any:
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
        if limit is not None:
            needs(Promise.LIMIT, self.promises)
        return self._run(self._plans.create(key, fields, life, user, limit, token))

    def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None:
        return self._run(self._plans.load(key, slide))

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
        return self._run(self._plans.save(key, changes, life, expected, user, token))

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
        if limit is not None:
            needs(Promise.LIMIT, self.promises)
        plan = self._plans.rotate(
            key, new_key, changes, life, expected, user, limit, grace, hard, create, token
        )
        return self._run(plan)

    def end(self, *keys: bytes, held: Any = None) -> int:
        return self._run(self._plans.end(keys, held)) if keys else 0

    def touch(self, key: bytes) -> bool:
        return self._run(self._plans.touch(key))

    def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
        needs(Promise.INDEX, self.promises)
        return self._run(self._plans.sessions_of(user, names)) if user else []

    def end_all(self, user: str, *, keep: bytes | None = None) -> int:
        needs(Promise.INDEX, self.promises)
        return self._run(self._plans.end_all(user, keep)) if user else 0

    def exists(self, key: bytes) -> bool:
        return self._run(self._plans.exists(key))

    def ping(self) -> None:
        self._run(self._plans.ping())


class AsyncFace:
    """`sessile.contract.AsyncEngine` over plans."""

    _plans: Any
    promises: frozenset[Promise] = EVERYWHERE | INDEXED
    """What holds on this engine; docs/guarantees.md is made from it."""

    async def _run(self, plan: Any) -> Any:
        raise NotImplementedError

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
        if limit is not None:
            needs(Promise.LIMIT, self.promises)
        return await self._run(self._plans.create(key, fields, life, user, limit, token))

    async def load(self, key: bytes, *, slide: bool = False) -> Loaded | Rotated | None:
        return await self._run(self._plans.load(key, slide))

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
        return await self._run(self._plans.save(key, changes, life, expected, user, token))

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
        if limit is not None:
            needs(Promise.LIMIT, self.promises)
        plan = self._plans.rotate(
            key, new_key, changes, life, expected, user, limit, grace, hard, create, token
        )
        return await self._run(plan)

    async def end(self, *keys: bytes, held: Any = None) -> int:
        return await self._run(self._plans.end(keys, held)) if keys else 0

    async def touch(self, key: bytes) -> bool:
        return await self._run(self._plans.touch(key))

    async def sessions_of(self, user: str, names: Sequence[bytes] = ()) -> list[Listed]:
        needs(Promise.INDEX, self.promises)
        return await self._run(self._plans.sessions_of(user, names)) if user else []

    async def end_all(self, user: str, *, keep: bytes | None = None) -> int:
        needs(Promise.INDEX, self.promises)
        return await self._run(self._plans.end_all(user, keep)) if user else 0

    async def exists(self, key: bytes) -> bool:
        return await self._run(self._plans.exists(key))

    async def ping(self) -> None:
        await self._run(self._plans.ping())
