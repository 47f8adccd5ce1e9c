"""What a child of a fork does while a thread of its parent holds a lock."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

SECONDS = 10


def ends_in_a_child(lock: AbstractContextManager[object], work: Callable[[], None]) -> bool:
    """Whether `work` comes to its end in a child that was forked while a thread held `lock`."""
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            locked.set()
            done.wait(3 * SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(SECONDS)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    return status == 0
