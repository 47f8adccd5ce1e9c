"""Waiting with an end, in asyncio.

What always holds: a task that is cancelled while it waits sees that, whatever comes at the same
moment, and a task that was cancelled before and still waits for something gets its TimeoutError.
`asyncio.wait_for` doesn't promise so much before Python 3.12: cancelled when the work has just been
done, it answers as if nobody had cancelled, and a task that goes round in circles is never rid of.
Python 3.10 doesn't count who cancels a task: a cancellation in the very turn of the loop in which
the time is over is taken for that there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What `work` answers; raises asyncio.TimeoutError if that takes too long."""
    task, late = asyncio.current_task(), False
    assert task is not None
    # From Python 3.11 on a task counts who cancels it: others may have, before or meanwhile.
    before = 0
    if sys.version_info >= (3, 11):
        before = task.cancelling()

    def end() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        return await work
    except asyncio.CancelledError:
        if not late or (sys.version_info >= (3, 11) and task.cancelling() > before + 1):
            raise
        raise asyncio.TimeoutError from None
    finally:
        timer.cancel()
        if late and sys.version_info >= (3, 11):
            task.uncancel()
