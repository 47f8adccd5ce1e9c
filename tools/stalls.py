"""How long the machine held us up, so that a bound in seconds can be judged on a busy one, too."""

from __future__ import annotations

import threading
import time
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")


class Stalls:
    """How long this process was kept from running: a thread that wants to wake each TICK."""

    TICK = 0.01

    def __init__(self) -> None:
        self.seconds = 0.0
        """Lateness of all ticks that were later than another TICK."""
        self.late: list[tuple[float, float]] = []
        """Of each of them when it came (Unix time), and how late."""
        self.waited: list[tuple[float, float]] = []
        """For how long somebody on this machine waited for a processor, and when that was noted."""
        self._until = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._until.set()
        self._thread.join()

    def within(self, begun: float, ended: float) -> float:
        """Seconds of stalls that reach into a span of Unix time."""
        return sum(late for came, late in self.late if came >= begun and came - late <= ended)

    def waiting(self, begun: float, ended: float) -> float:
        """Seconds of a span of Unix time in which somebody waited for a processor.

        That may have been whom a test is about: an upper bound for how long it was held up. 0 where
        the kernel doesn't tell.
        """
        total = sum(seconds for at, seconds in self.waited if begun <= at <= ended + self.TICK)
        return min(total, ended - begun)

    def _run(self) -> None:
        last, waited = time.monotonic(), pressure()
        while not self._until.wait(self.TICK):
            now = time.monotonic()
            late = now - last - self.TICK
            if late > self.TICK:
                self.seconds += late
                self.late.append((time.time(), late))
            last, before, waited = now, waited, pressure()
            if waited > before:
                self.waited.append((time.time(), waited - before))


def pressure() -> float:
    """Seconds since the machine started in which somebody waited for a processor."""
    try:
        some = PRESSURE.read_text().partition("\n")[0]
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return 0.0
