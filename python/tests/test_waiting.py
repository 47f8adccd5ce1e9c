"""`sessile.waiting.within`: who cancels a task that waits, and when."""

from __future__ import annotations

import asyncio
import sys

import pytest

from sessile.waiting import within


def outcome_of(seconds: float, *, before: bool, meanwhile: bool) -> str:
    """How a wait ends in a task that is cancelled before it waits, and in the wait's first turn."""

    async def wait(task: asyncio.Task[str]) -> str:
        if meanwhile:
            asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await within(seconds, asyncio.Event().wait())
        except asyncio.TimeoutError:
            return "late"
        except asyncio.CancelledError:
            return "cancelled"
        return "answered"

    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        if before:
            task.cancel()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return await wait(task)  # as a teardown that still has something to write
        return await wait(task)

    async def whole() -> str:
        task = asyncio.ensure_future(work())
        said = await task
        if sys.version_info >= (3, 11):
            assert task.cancelling() == before + meanwhile, "what is ours is taken back"
        return said

    return asyncio.run(whole())


@pytest.mark.parametrize("before", [False, True])
def test_a_wait_that_takes_too_long_is_late(before: bool) -> None:
    assert outcome_of(0.01, before=before, meanwhile=False) == "late"


@pytest.mark.parametrize("before", [False, True])
def test_a_task_that_is_cancelled_meanwhile_sees_that(before: bool) -> None:
    assert outcome_of(600, before=before, meanwhile=True) == "cancelled"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 doesn't count who cancels")
@pytest.mark.parametrize("before", [False, True])
def test_both_in_one_turn_are_a_cancellation(before: bool) -> None:
    assert outcome_of(0, before=before, meanwhile=True) == "cancelled"
