"""Cuts the power at thousands of moments, and looks what each of the disks that are left holds.

usage: power.py [--states N] [--policy always|everysec|both] [--seed N]

STATES and SEED of the environment stand for the first and the third; 3,000 states of each policy is
what it does otherwise. A server is recorded while clients write, with snapshots and rewrites going
on (see `tracing`). Of what it did, disks are made on which something that wasn't synced is missing
or torn (see `platter`), and a server is started on each. It must load it, and what it holds must be
a state that follows from what the clients had been told by then: under `always` all that was
acknowledged; under `everysec` all that was acknowledged before the last sync, and every end of a
session. The first recording begins with an empty folder, the others on such a disk, so that what a
server does after a power loss is cut as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from crash import POLICIES, Flow, check_sum, look
from durable_servers import LOG, check, ours
from model import Client, apply
from platter import WAYS, Disk, File
from tracing import Traced, events
from wire import Talk, Wire, encode, parse

CLIENTS = 10
DEEPEST = 8
"""So many steps are asked for at once at most."""
RECORDINGS = 5
"""States are cut from so many recordings, a fifth from each."""


@dataclass
class Told:
    """What one client had been told, as far as the events have come."""

    client: Client
    answers: bytearray = field(default_factory=bytearray)
    replies: int = -1
    """Of the next step; the first reply is that of SELECT."""
    steps: int = 0
    since: deque[float] = field(default_factory=deque)
    """When those steps were acknowledged that may be lost."""
    least: int = 0
    """So many steps must have survived."""

    def hear(self, data: bytes, seconds: float, waits: tuple[bool, bool]) -> None:
        """The client was sent bytes. What waits for the disk: every step, those that revoke."""
        self.answers += data
        while (one := parse(self.answers)) is not None:
            del self.answers[: one[1]]
            self.replies += 1
            if self.replies and self.replies == self.client.steps[self.steps].replies:
                self.replies = 0
                self.steps += 1
                self.since.append(seconds)
                if waits[self.client.steps[self.steps - 1].revokes]:
                    self.lasts(self.steps)

    def lasts(self, steps: int) -> None:
        """So many steps are on the disk."""
        while self.least < steps:
            self.least += 1
            self.since.popleft()


class Recording:
    """What a server did under load, on a folder as it was."""

    def __init__(
        self, folder: Path, policy: str, clients: list[Client], rng: random.Random
    ) -> None:
        self.policy = policy
        self.clients = clients
        self.disk = Disk(folder)
        self.told: dict[int, Told] = {}
        self.longest = 0.0
        """Seconds from the first acknowledgement that was lost to the last one, at most."""
        self.base = [dict(client.acked) for client in clients]
        slow = rng.choice((0, 0, 5, 1500)) if policy == "everysec" else 0
        revoked = rng.choice(("yes", "yes", "no"))
        self.waits = (policy == "always", policy == "always" or revoked == "yes")
        options = (*LOG, "--appendfsync", policy, "--session-revocation-fsync", revoked)
        server = Traced(folder, *options, slow_ms=slow)
        try:
            flow = Flow(server.port, clients, rng)
            for line in flow.lines:
                self.told[line.wire.local_port] = Told(line.client)
            with closing(Wire(server.port)) as control:
                for name in (*rng.choices(("BGSAVE", "BGREWRITEAOF"), k=3), "BGREWRITEAOF"):
                    flow.run(0.05 + rng.random() * 0.15, steps=400)
                    control.send(encode(name))
                flow.run(0.7 if slow < 1000 else 4.0, steps=1000)
                if rng.randrange(2):
                    os.kill(server.pid, signal.SIGTERM)
                    flow.run(20, until_closed=True)
                else:
                    os.kill(server.pid, signal.SIGKILL)
                flow.close()
        finally:
            with contextlib.suppress(OSError):
                os.kill(server.pid, signal.SIGKILL)
        self.calls = list(events(server.ended()))

    def cuts(self, count: int, rng: random.Random):
        """Goes through what happened; yields so many times, at moments when power may be cut."""
        chosen = self.moments(count, rng)
        current: File | None = None
        heard: list[tuple[int, Told, int]] = []
        for number, call in enumerate(self.calls):
            if call.peer and call.name in ("sendto", "write", "writev", "sendmsg"):
                told = self.told.get(call.peer)
                if told:
                    data = b"".join(call.texts)[: call.result]
                    told.hear(data, call.seconds, self.waits)
                    heard.append((number, told, told.steps))
            file = self.disk.follow(number, call)
            if call.name == "write" and file and call.texts[0].startswith(b"#sc "):
                current = file
            if call.name == "fdatasync" and file is current and current:
                # Whatever was acknowledged before it began had been appended.
                heard = self.last(heard, call.began)
            for _ in range(chosen.get(number, 0)):
                yield number

    def last(self, heard, began):
        """What was told before a sync began is on the disk with it."""
        for number, told, steps in heard:
            if number < began:
                told.lasts(steps)
        return [one for one in heard if one[0] >= began]

    def lost(self, kept: list[int]) -> None:
        """Each client has found so many of the steps that needn't have lasted."""
        told = list(self.told.values())
        lost = [one.since[n] for one, n in zip(told, kept, strict=True) if n < len(one.since)]
        if lost:
            latest = max(one.since[-1] for one in told if one.since)
            self.longest = max(self.longest, latest - min(lost))

    def moments(self, count: int, rng: random.Random) -> dict[int, int]:
        """By number of an event: how many states are made after it."""
        # Most where names and syncs are, the rest anywhere.
        places = [
            number + by
            for number, call in enumerate(self.calls)
            if call.name in ("rename", "unlink", "mkdir", "fsync", "openat")
            for by in (-1, 0)
            if number + by >= 0
        ]
        found: dict[int, int] = {}
        for _ in range(count):
            anywhere = rng.randrange(len(self.calls))
            number = rng.choice(places) if rng.randrange(2) else anywhere
            found[number] = found.get(number, 0) + 1
        return found

    def expected(self) -> list[Client]:
        """The clients as they may find the store."""
        found = []
        for base, told in zip(self.base, self.told.values(), strict=True):
            steps = told.client.steps
            client = told.client.again()
            client.acked = dict(base)
            for step in steps[: told.least]:
                apply(client.acked, step.changes)
            client.pending.extend(steps[told.least : told.steps + DEEPEST])
            found.append(client)
        return found


def examine(folder: Path, recording: Recording, thorough: bool) -> list[Client]:
    """Starts a server on a disk; the clients, as they found it."""
    if thorough:
        lines, _ = check(folder / "appendonlydir")
        assert not any("damaged" in line for line in lines), lines
    server = ours(folder, *LOG, "--appendfsync", recording.policy)
    try:
        clients = recording.expected()
        with closing(Talk(server.port)) as talk:
            found = look(talk, clients, 0)
            recording.lost(
                [client.settle(seen) for client, seen in zip(clients, found, strict=True)]
            )
            check_sum(talk, 0)
    finally:
        server.kill()
    return clients


class Power:
    """Recordings, and the disks that are cut from them."""

    def __init__(self, root: Path, policy: str, seed: int) -> None:
        self.root = root
        self.policy = policy
        self.rng = random.Random(seed)
        self.states = 0
        self.acknowledged = 0
        self.longest = 0.0

    def run(self, states: int, recordings: int = RECORDINGS, say=lambda line: None) -> None:
        """Makes so many disks and looks at each."""
        clients = [Client(n, random.Random(self.rng.random())) for n in range(CLIENTS)]
        folder = self.root / "first"
        folder.mkdir()
        # Each recording has a disk at least, and the last ones one more where it doesn't come out.
        recordings = min(recordings, states)
        for number in range(recordings):
            recording = Recording(folder, self.policy, clients, self.rng)
            count = (states - self.states) // (recordings - number)
            clients, folder = self.cut(recording, count, folder)
            self.acknowledged += sum(told.steps for told in recording.told.values())
            self.longest = max(self.longest, recording.longest)
            say(f"{number + 1} of {recordings}: {self}")

    def cut(self, recording: Recording, count: int, folder: Path) -> tuple[list[Client], Path]:
        """The disks of one recording. Answers one of them, and the clients of it: what comes next
        goes on there."""
        shutil.rmtree(folder)
        goes_on = self.rng.randrange(count // 2, count)
        after = None
        for state, number in enumerate(recording.cuts(count, self.rng)):
            ways = (self.rng.choice(WAYS), self.rng.choice(WAYS))
            folder = self.root / f"disk{self.states}"
            folder.mkdir()
            recording.disk.after_power_loss(self.rng, ways, folder)
            kept = self.root / f"kept{self.states}"
            shutil.copytree(folder, kept)
            try:
                clients = examine(folder, recording, self.states % 5 == 0)
            except (AssertionError, RuntimeError) as error:
                what = f"state {self.states}, cut after event {number}, {ways}: see {kept}"
                raise AssertionError(f"{what}\n{error}") from error
            self.states += 1
            if state == goes_on:
                after = clients, kept
                shutil.rmtree(folder)
            else:
                shutil.rmtree(folder)
                shutil.rmtree(kept)
        return after

    def __str__(self) -> str:
        text = f"{self.states} disks, {self.acknowledged} steps acknowledged, none lost"
        if self.policy == "everysec":
            text += f" that had to last; {self.longest:.2f} s of others were, at most"
        return text


def main() -> None:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--states", type=int, default=os.environ.get("STATES", 3000))
    parser.add_argument("--policy", choices=(*POLICIES, "both"), default="both")
    seed = os.environ.get("SEED", time.time_ns() % 1_000_000)
    parser.add_argument("--seed", type=int, default=seed)
    asked = parser.parse_args()
    for policy in POLICIES if asked.policy == "both" else (asked.policy,):
        print(f"{policy}: SEED={asked.seed}, {asked.states} states", flush=True)
        root = Path(tempfile.mkdtemp(prefix="power-", dir=memory()))
        power = Power(root, policy, asked.seed)
        power.run(asked.states, max(RECORDINGS, asked.states // 300), print)
        shutil.rmtree(root)
        print(f"{policy}: {power}", flush=True)


def memory() -> str | None:
    """A file system on which syncs cost nothing, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    main()
