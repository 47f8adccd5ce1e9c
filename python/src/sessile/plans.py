"""Plans: what is to be asked of a store, by code that does no I/O.

A plan is a generator that yields steps and is sent the answers; a step takes an engine and calls
it. `run` lets an Engine carry a plan out, `arun` an AsyncEngine; so sync and async differ only in
who moves the bytes. What always holds: an error that a step raises is raised in the plan, where it
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from sessile.contract import AsyncEngine, Engine

__all__ = ["Plan", "Step", "arun", "run"]

T = TypeVar("T")
Step = Callable[[Any], Any]
"""One operation: takes an engine, answers its answer (from an AsyncEngine, an awaitable)."""
Plan = Generator[Step, Any, T]


def run(engine: Engine, plan: Plan[T]) -> T:
    """Carries a plan out."""
    try:
        step = next(plan)
        while True:
            try:
                answer = step(engine)
            except Exception as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(engine: AsyncEngine, plan: Plan[T]) -> T:
    """Carries a plan out, with `await`."""
    try:
        step = next(plan)
        while True:
            try:
                answer = await step(engine)
            except Exception as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
