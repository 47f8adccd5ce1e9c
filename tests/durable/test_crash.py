"""Crashes, the short run (`make crash` is the long one), and whether the check would see a loss.

Random tests print their seed; SEED repeats one, ROUNDS makes them longer.
"""

from __future__ import annotations

import os
import time

import pytest

from cache import CacheClient
from control import Control
from crash import POLICIES, Crash
from model import Client

ROUNDS = int(os.environ.get("ROUNDS", 15))


def crash_on(tmp_path, policy: str, clients: int = 50) -> Crash:
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    crash = Crash(tmp_path / "data", policy, seed, clients)
    crash.folder.mkdir()
    return crash


@pytest.mark.timeout(0)
@pytest.mark.parametrize("policy", POLICIES)
def test_crashes_lose_nothing_that_was_acknowledged(tmp_path, policy):
    crash = crash_on(tmp_path, policy)
    for _ in range(ROUNDS):
        crash.round()
    print(crash.tally)
    assert crash.tally.acknowledged > 100 * ROUNDS
    assert crash.tally.cached > 30 * ROUNDS
    assert crash.tally.kills + crash.tally.stops >= ROUNDS
    assert crash.tally.switches > 0 or ROUNDS < 15


@pytest.mark.parametrize("kind", [Client, CacheClient])
def test_a_loss_would_be_seen(tmp_path, kind):
    """The last chunks of the log are taken away: somebody was told of what is in them."""
    crash = crash_on(tmp_path, "always", clients=10)
    crash.clients = [kind(client.number, client.rng) for client in crash.clients]
    written = b""
    while written.count(b"#sc ") < 50:
        # Another round if a rewrite has begun a new increment in the last moment.
        crash.round()
        logs = (crash.folder / "appendonlydir").glob("*.incr.aof")
        log = max(logs, key=lambda path: int(path.name.split(".")[2]))
        written = log.read_bytes()
    for client in crash.clients:
        # What wasn't acknowledged may be missing: nobody minds.
        client.pending.clear()
        client.loose.clear()
        client.now = dict(client.acked)
    at = len(written)
    for _ in range(10):
        at = written.rindex(b"#sc ", 0, at)
    log.write_bytes(written[:at])
    with pytest.raises(AssertionError, match=r"no state fits|the sum is"):
        crash.round()


def test_what_is_written_without_a_log_would_be_missed(tmp_path, monkeypatch):
    """If it had to last what is acknowledged while the log is off, it would be seen to be lost."""
    crash = crash_on(tmp_path, "everysec", clients=10)
    off = ("CONFIG", "SET", "appendonly", "no")
    monkeypatch.setattr(Control, "change", lambda self, what="": self._ask(*off))
    with pytest.raises(AssertionError, match=r"no state fits|the sum is"):
        for _ in range(20):
            crash.round()
