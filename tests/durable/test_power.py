"""Power losses, the short run (`make powerloss` is the long one), and whether a loss would be seen.

Random tests print their seed; SEED repeats one, STATES makes them longer.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

import platter
from crash import POLICIES
from model import Client
from power import Power, Recording, Told, TooMuchGone, memory
from stalls import Stalls
from tracing import Call

TRIES = 3
STATES = int(os.environ.get("STATES", 150))


@pytest.fixture
def root(tmp_path):
    """A folder on which syncs cost nothing, if there is one."""
    with tempfile.TemporaryDirectory(prefix="power-", dir=memory() or tmp_path) as name:
        yield Path(name)


def power_on(root, policy: str) -> Power:
    seed = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
    print(f"SEED={seed}")
    return Power(root, policy, seed)


def held_out(root, policy: str) -> Power:
    """A run in which nothing was lost; another one where a processor was waited for too long."""
    for left in reversed(range(TRIES)):
        power = power_on(root / f"left{left}", policy)
        power.root.mkdir()
        try:
            power.run(STATES, recordings=2)
            return power
        except AssertionError as error:
            why = error.__cause__
            if not left or not isinstance(why, TooMuchGone) or not why.explained:
                raise
            print(error)
    raise AssertionError("the last try answers or raises")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("policy", POLICIES)
def test_power_losses_take_nothing_that_had_to_last(root, policy):
    power = held_out(root, policy)
    print(power)
    assert power.states >= STATES - 1
    # Syncs that take seconds leave time for a few only.
    assert power.acknowledged > 40
    assert power.cached > 5


def test_a_sync_that_lies_would_be_seen(root, monkeypatch):
    """Syncs do nothing: states are found in which something is missing that was acknowledged."""
    monkeypatch.setattr(platter.Disk, "_sync", lambda self, what, began: None)
    power = power_on(root, "always")
    with pytest.raises(AssertionError, match=r"cut after event"):
        power.run(100, recordings=1)


def call(name: str, began: int, fd: int = -1, result: int = 0, *texts: bytes) -> Call:
    return Call(name, began, 0.0, fd, result, texts, "", None)


def test_what_was_not_synced_may_be_missing_or_torn_and_nothing_else(tmp_path):
    folder, into = tmp_path / "data", tmp_path / "disks"
    folder.mkdir()
    into.mkdir()
    (folder / "old").write_bytes(b"old")
    at = os.fsencode(folder)
    disk = platter.Disk(folder)
    calls = [
        call("openat", 0, -1, 5, at + b"/new"),
        call("write", 1, 5, 4, b"safe"),
        call("fsync", 2, 5),
        call("write", 3, 5, 600, b"x" * 600),
        call("rename", 4, -1, 0, at + b"/new", at + b"/old"),
    ]
    for number, one in enumerate(calls):
        disk.follow(number, one)
    rng = random.Random(1)
    found = set()
    for number in range(300):
        some = into / str(number)
        some.mkdir()
        disk.after_power_loss(rng, (rng.choice(platter.WAYS), rng.choice(platter.WAYS)), some)
        content = {path.name: path.read_bytes() for path in some.iterdir()}
        new = content.get("new", content["old"])
        assert new == b"old" or new[:4] == b"safe", "what was synced is there"
        assert set(new[4:]) <= set(b"x\0") or new == b"old"
        found.add((tuple(sorted(content)), content["old"][:4], len(new)))
    names = {(names, old) for names, old, _ in found}
    assert names == {(("old",), b"old"), (("new", "old"), b"old"), (("old",), b"safe")}
    assert {4, 604} < {size for *_, size in found}, "nothing, all, and torn"


def test_what_one_file_gets_of_another_is_followed(tmp_path):
    folder, into = tmp_path / "data", tmp_path / "disk"
    folder.mkdir()
    into.mkdir()
    (folder / "log").write_bytes(b"whole, torn")
    at = os.fsencode(folder)
    copied = "5, NULL, 6, NULL, 1073741824, 0"
    disk = platter.Disk(folder)
    calls = [
        call("openat", 0, -1, 5, at + b"/log"),
        call("lseek", 1, 5, 7),
        call("openat", 2, -1, 6, at + b"/log.torn"),
        replace(call("copy_file_range", 3, 5, 4), arguments=copied),
        replace(call("copy_file_range", 4, 5, 0), arguments=copied),
    ]
    for number, one in enumerate(calls):
        disk.follow(number, one)
    disk.after_power_loss(random.Random(1), ("all", "all"), into)
    assert (into / "log.torn").read_bytes() == b"torn"
    assert (into / "log").read_bytes() == b"whole, torn"


def test_more_than_a_second_that_is_gone_would_be_seen():
    told = Told(Client(0, random.Random(1)))
    recording = Recording.__new__(Recording)
    recording.policy, recording.changes, recording.longest = "everysec", (), 0.0
    recording.told, recording.stalls = {(1, 2): told}, Stalls()
    told.since.extend((10.0, 10.5, 11.4))
    recording.lost([1])
    assert recording.longest == pytest.approx(0.9)
    with pytest.raises(AssertionError, match=r"1\.40 s of steps are gone"):
        recording.lost([0])
    # Only where the machine stood still meanwhile.
    recording.stalls.late.append((9.9, 5.0))
    with pytest.raises(AssertionError, match=r"1\.40 s of steps are gone"):
        recording.lost([0])
    # A processor that was waited for is a reason to try again, and none to let it pass.
    recording.stalls.waited.append((11.0, 0.3))
    with pytest.raises(TooMuchGone) as first:
        recording.lost([0])
    recording.stalls.waited.append((11.2, 0.2))
    with pytest.raises(TooMuchGone) as second:
        recording.lost([0])
    assert (first.value.explained, second.value.explained) == (False, True)
    recording.stalls.late.append((11.3, 0.5))
    recording.lost([0])
