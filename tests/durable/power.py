"""Cuts the power at thousands of moments, and looks what each of the disks that are left holds.

usage: power.py [--states N] [--policy always|everysec|no|all] [--seed N]

STATES and SEED of the environment stand for the first and the third; 3,000 states of each policy is
what it does otherwise. A server is recorded while clients write, by RESP and by memcached's
protocols, with snapshots and rewrites going on, and in some recordings with `appendfsync` or
`appendonly` changing (see `tracing` and `control`). Of what it did, disks are made on which
something that wasn't synced is missing or torn (see `platter`), and a server is started on each. It
must load it, and what it holds must be a state that follows from what the clients had been told by
then: under `always` all that was acknowledged; under `everysec` and `no` all that was acknowledged
before the last sync, every end of a session and every deletion, and under `everysec` all but a
second; what was acknowledged while the log was off, once it is on again. The first recording begins
with an empty folder, the others on such a disk, so that what a server does after a power loss is
cut as well.
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

import cache
from control import Control, Promise
from crash import POLICIES, Flow, check_sum, look
from durable_servers import LOG, both, check
from model import Client, Step, apply
from platter import WAYS, Disk, File
from stalls import Stalls
from tracing import Call, Traced, events
from wire import Talk

CLIENTS = 10
LOST_MOST = 1.0
"""Under `everysec` so many seconds of acknowledged steps may go at most."""
DEEPEST = 8
"""So many steps are asked for at once at most."""
SLOW = (
    (),
    (),
    ("fdatasync:delay_enter=5000",),
    ("fdatasync:delay_enter=1500000",),
    ("fdatasync:delay_enter=1500000", "write:delay_exit=800000:when=20+20"),
)
"""What takes longer in a recording under `everysec` (µs): nothing, syncs, or some appends too."""
RECORDINGS = 5
"""States are cut from so many recordings, a fifth from each."""


class TooMuchGone(AssertionError):
    """More is gone than `everysec` allows."""

    def __init__(self, what: str, explained: bool) -> None:
        super().__init__(what)
        self.explained = explained
        """Whether somebody on the machine waited for a processor that long: the server, perhaps."""


@dataclass
class Told:
    """What one client had been told, as far as the events have come."""

    client: Client
    answers: bytearray = field(default_factory=bytearray)
    replies: int = -1
    """Of the next step; the first reply is to the greeting."""
    steps: int = 0
    since: deque[float] = field(default_factory=deque)
    """When those steps were acknowledged that may be lost."""
    least: int = 0
    """So many steps must have survived."""

    def hear(self, data: bytes, seconds: float) -> list[tuple[int, Step]]:
        """The client was sent bytes: the steps that it knows of now, with their numbers."""
        done = []
        self.answers += data
        while (one := self.client.parse(self.answers, 0)) is not None:
            del self.answers[: one[1]]
            self.replies += 1
            if self.replies and self.replies == self.client.steps[self.steps].replies:
                self.replies = 0
                self.steps += 1
                self.since.append(seconds)
                done.append((self.steps, self.client.steps[self.steps - 1]))
        return done

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
        self.told: dict[tuple[int, int], Told] = {}
        self.longest = 0.0
        """Seconds from the first acknowledgement that was lost to the last one, at most."""
        self.stalls = Stalls()
        self.base = [dict(client.acked) for client in clients]
        self.changes = rng.choice(((), (), ("appendfsync",), ("appendonly", "appendfsync")))
        slow = rng.choice(SLOW) if policy == "everysec" and not self.changes else ()
        revoked = rng.choice(("yes", "yes", "no"))
        self.holds_revocations = revoked == "yes"
        options = (*LOG, "--appendfsync", policy, "--session-revocation-fsync", revoked)
        options = (*options, "--aof-use-rdb-preamble", rng.choice(("yes", "no")))
        server = Traced(folder, *options, slow=slow)
        try:
            self.stalls.__enter__()
            control = Control(server.port, clients, policy, rng)
            flow = Flow(server.ports, clients, rng, control)
            for line in flow.lines:
                self.told[line.wire.ends] = Told(line.client)
            names = [*rng.choices(("BGSAVE", "BGREWRITEAOF"), k=3), "BGREWRITEAOF"]
            names += [name for name in self.changes for _ in range(3)]
            if self.changes:
                rng.shuffle(names)
            for name in names:
                flow.run(0.05 + rng.random() * 0.15, steps=1600 // len(names))
                control.change(name)
            flow.run(4.0 if slow in SLOW[-2:] else 0.7, steps=1000)
            if rng.randrange(2):
                os.kill(server.pid, signal.SIGTERM)
                flow.run(20, until_closed=True)
            else:
                os.kill(server.pid, signal.SIGKILL)
            flow.close()
        finally:
            self.stalls.__exit__()
            with contextlib.suppress(OSError):
                os.kill(server.pid, signal.SIGKILL)
        self.marks, self.switches = control.marks, control.switches
        self.mark = 0
        self.calls = list(events(server.ended()))

    def cuts(self, count: int, rng: random.Random):
        """Goes through what happened; yields so many times, at moments when power may be cut."""
        chosen = self.moments(count, rng)
        current: File | None = None
        self.heard: list[tuple[int, Told, int]] = []
        for number, call in enumerate(self.calls):
            self.promised(call.seconds)
            if call.ends and call.name in ("sendto", "write", "writev", "sendmsg"):
                told = self.told.get(call.ends)
                if told:
                    self.hear(number, told, call)
            file = self.disk.follow(number, call)
            if call.name == "write" and file and call.texts[0].startswith(b"#sc "):
                current = file
            if call.name == "fdatasync" and file is current and current and self.is_logged():
                # Whatever was acknowledged before it began had been appended.
                self.last(call.began)
            for _ in range(chosen.get(number, 0)):
                yield number

    def promised(self, seconds: float) -> None:
        """It's so late: promises come into force."""
        while self.mark + 1 < len(self.marks) and self.marks[self.mark + 1][0] <= seconds:
            self.mark += 1
            for told in self.told.values():
                while told.since and told.since[0] < self.marks[self.mark][1].begun:
                    told.lasts(told.least + 1)

    def is_logged(self) -> bool:
        return self.marks[self.mark][1].logged

    def weakest(self, asked: float) -> Promise:
        """What was promised ever since that time."""
        first = self.mark
        while self.marks[first][0] > asked:
            first -= 1
        some = [promise for _, promise in self.marks[first : self.mark + 1]]
        return Promise(all(one.logged for one in some), all(one.always for one in some))

    def hear(self, number: int, told: Told, call: Call) -> None:
        """A client was told something."""
        data = b"".join(call.texts)[: call.result]
        for steps, step in told.hear(data, call.seconds):
            promise = self.weakest(step.asked)
            if promise.logged:
                self.heard.append((number, told, steps))
                if promise.always or (step.revokes and self.holds_revocations):
                    told.lasts(steps)

    def last(self, began: int) -> None:
        """What was told before a sync began is on the disk with it."""
        for number, told, steps in self.heard:
            if number < began:
                told.lasts(steps)
        self.heard = [one for one in self.heard if one[0] >= began]

    def lost(self, kept: list[int]) -> None:
        """Each client has found so many of the steps that needn't have lasted."""
        if self.policy != "everysec" or self.changes:
            return
        told = zip(self.told.values(), kept, strict=True)
        lost = [(one.since[n], one.since[-1]) for one, n in told if n < len(one.since)]
        if lost:
            # What was told meanwhile of steps that are there doesn't count.
            earliest, latest = min(first for first, _ in lost), max(last for _, last in lost)
            self.longest = max(self.longest, latest - earliest)
            gone = latest - earliest
            excess = gone - LOST_MOST - self.stalls.within(earliest, latest)
            if excess > 0:
                waited = self.stalls.waiting(earliest, latest)
                what = f"{gone:.2f} s of steps are gone"
                what += f"; for {waited:.2f} s of them somebody waited for a processor"
                raise TooMuchGone(what, waited >= excess)

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
        assert not any(": damaged" in line for line in lines), lines
    server = both(folder, *LOG, "--appendfsync", recording.policy)
    try:
        clients = recording.expected()
        found = look(server.ports, clients, 0)
        recording.lost([client.settle(seen) for client, seen in zip(clients, found, strict=True)])
        with closing(Talk(server.port)) as talk:
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
        self.acknowledged = self.cached = self.switches = 0
        self.longest = 0.0

    def run(self, states: int, recordings: int = RECORDINGS, say=lambda line: None) -> None:
        """Makes so many disks and looks at each."""
        clients = cache.mixed(CLIENTS, self.rng)
        folder = self.root / "first"
        folder.mkdir()
        # Each recording has a disk at least, and the last ones one more where it doesn't come out.
        recordings = min(recordings, states)
        for number in range(recordings):
            recording = Recording(folder, self.policy, clients, self.rng)
            count = (states - self.states) // (recordings - number)
            clients, folder = self.cut(recording, count, folder)
            for told in recording.told.values():
                self.acknowledged += told.steps
                self.cached += told.steps * (told.client.port == "cache")
            self.switches += recording.switches
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
        text = f"{self.states} disks, {self.acknowledged} steps acknowledged ({self.cached} by "
        text += f"memcached's clients), {self.switches} changes of appendfsync and appendonly, "
        text += "none lost that had to last"
        if self.policy == "everysec":
            text += f"; {self.longest:.2f} s of others were, at most"
        return text


def main() -> None:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--states", type=int, default=os.environ.get("STATES", 3000))
    parser.add_argument("--policy", choices=(*POLICIES, "all"), default="all")
    seed = os.environ.get("SEED", time.time_ns() % 1_000_000)
    parser.add_argument("--seed", type=int, default=seed)
    asked = parser.parse_args()
    for policy in POLICIES if asked.policy == "all" else (asked.policy,):
        print(f"{policy}: SEED={asked.seed}, {asked.states} states", flush=True)
        root = Path(tempfile.mkdtemp(prefix="power-", dir=memory()))
        power = Power(root, policy, asked.seed)
        power.run(asked.states, max(RECORDINGS, asked.states // 100), print)
        shutil.rmtree(root)
        print(f"{policy}: {power}", flush=True)


def memory() -> str | None:
    """A file system on which syncs cost nothing, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    main()
