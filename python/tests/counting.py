"""A store in this process that counts what it's asked, and can be taken away."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sessile import SessionUnavailable
from sessile.memory import MemoryEngine

__all__ = ["Counting"]


class Counting:
    """An engine over memory."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.calls: Counter[str] = Counter()
        self.is_down = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.engine, name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if self.is_down:
                raise SessionUnavailable("down")
            return method(*args, **options)

        return call

    def taken(self) -> dict[str, int]:
        """What was asked since the last time."""
        calls, self.calls = dict(self.calls), Counter()
        return calls
