"""Waiting with an end, in asyncio.

What always holds: a task that is cancelled while it waits sees that, whatever comes at the same
moment. `asyncio.wait_for` doesn't promise so much before Python 3.12: cancelled when the work has
just been done, it answers as if nobody had cancelled, and a task that goes round in circles is
never rid of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What `work` answers; raises asyncio.TimeoutError if that takes too long."""
    task, late = asyncio.current_task(), False
    assert task is not None

    def end() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        return await work
    except asyncio.CancelledError:
        # From Python 3.11 on a task counts who cancels it: somebody else may have, too.
        others = task.uncancel() if late and hasattr(task, "uncancel") else 0
        if not late or others:
            raise
        raise asyncio.TimeoutError from None
    finally:
        timer.cancel()
