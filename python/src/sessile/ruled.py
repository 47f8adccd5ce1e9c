"""Engines that are `sessile.rules` over a transaction of their own, and their async face.

`Ruled` turns a view into `sessile.contract.Engine`; `Async` turns any such engine into
`AsyncEngine`: in place where nothing can wait (`memory:`), else in a thread (`file:`).
What always holds: one operation is one view, and one call of one rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sessile import rules
from sessile.contract import Engine
from sessile.faces import AsyncFace, Face

__all__ = ["CALLS", "Async", "Ruled"]

Plan = Callable[[Any], Any]
"""One operation: takes a view, or an engine, and answers."""
NAMED: dict[str, tuple[str, ...]] = {
    "create": ("user", "limit", "token"),
    "load": ("slide",),
    "save": ("expected", "user", "token"),
    "rotate": ("expected", "user", "limit", "grace", "hard", "create", "token"),
    "end_all": ("keep",),
}
"""The last arguments of operations, which `Engine` takes by name."""


class RulePlans:
    """Each operation as the rule of its name."""

    def __getattr__(self, name: str) -> Callable[..., Plan]:
        rule = getattr(rules, name)
        return lambda *arguments: lambda view: rule(view, *arguments)

    def end(self, keys: tuple[bytes, ...], held: Any) -> Plan:
        return lambda view: rules.end(view, keys)

    def ping(self) -> Plan:
        return lambda view: None


class CallPlans:
    """Each operation as a call of an engine."""

    def __getattr__(self, name: str) -> Callable[..., Plan]:
        named = NAMED.get(name, ())

        def plan(*arguments: Any) -> Plan:
            first = len(arguments) - len(named)
            options = dict(zip(named, arguments[first:], strict=True))
            return lambda engine: getattr(engine, name)(*arguments[:first], **options)

        return plan

    def end(self, keys: tuple[bytes, ...], held: Any) -> Plan:
        return lambda engine: engine.end(*keys, held=held)


CALLS = CallPlans()


class Ruled(Face):
    """An engine that opens a view of its store and lets `sessile.rules` do the rest."""

    _plans = RulePlans()

    def view(self) -> AbstractContextManager[rules.View]:
        """One transaction: what it wrote counts if its block ends without an exception."""
        raise NotImplementedError

    def _run(self, plan: Plan) -> Any:
        with self.view() as view:
            return plan(view)

    def close(self) -> None:
        """Nothing to give back."""


class Async(AsyncFace):
    """`sessile.contract.AsyncEngine` over a synchronous engine."""

    _plans = CALLS

    def __init__(self, engine: Engine, *, waits: bool) -> None:
        """`waits` says that calls may take time, so that they need a thread."""
        self.engine = engine
        self._waits = waits
        self.promises = engine.promises

    async def _run(self, plan: Plan) -> Any:
        return await asyncio.to_thread(plan, self.engine) if self._waits else plan(self.engine)

    async def close(self) -> None:
        await self._run(lambda engine: engine.close())
