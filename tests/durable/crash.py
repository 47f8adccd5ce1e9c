"""Kills a server at random moments while 50 clients write, and looks what is left.

usage: crash.py [--rounds N] [--policy always|everysec|no|all] [--seed N] [--clients 50]

ROUNDS and SEED of the environment stand for the first and the third; 200 rounds of each policy is
what it does otherwise.

Each round starts a server on what the rounds before have left, reads that back (see `model` and
`cache`), lets the clients write for a moment, by RESP and by memcached's protocols, and ends it: by
SIGKILL, now and then by SIGTERM, or once more while it starts. Meanwhile snapshots and rewrites go
on, the policy changes, and the log is switched off and on (see `control`). A snapshot that was made
under load is loaded by a second server. The seed chooses all but the scheduling of the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import selectors
import shutil
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import cache
from control import Control
from durable_servers import LOG, Server, both, killed_while_starting, ours
from model import ACCOUNTS, START_SUM, Client, Seen
from wire import Talk, Wire

CLIENTS = 50
FILLERS = 8000
"""Keys that never change, so that snapshots and rewrites take long enough to be killed."""
POLICIES = ("always", "everysec", "no")


@dataclass
class Tally:
    """What was done so far."""

    rounds: int = 0
    kills: int = 0
    stops: int = 0
    acknowledged: int = 0
    cached: int = 0
    """How many of those memcached's clients did."""
    unknown: int = 0
    """Steps that were not answered when the server went, or while the log was switched off."""
    kept: int = 0
    """How many of those were there afterwards."""
    snapshots: int = 0
    rewrites: int = 0
    switches: int = 0
    renewed: int = 0
    """So often the log was on again."""
    off: int = 0
    """Rounds that ended while the log was switched off."""

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds, {self.kills} kills, {self.stops} stops: "
            f"{self.acknowledged} steps acknowledged ({self.cached} by memcached's clients) and "
            f"none lost that had to last, {self.kept} of {self.unknown} others there; "
            f"{self.snapshots} snapshots and {self.rewrites} rewrites begun, {self.switches} "
            f"changes of appendfsync and appendonly, {self.renewed} logs begun again, {self.off} "
            f"rounds ended without one"
        )


class Crash:
    """A folder, the clients that write into it, and the rounds."""

    def __init__(self, folder: Path, policy: str, seed: int, clients: int = CLIENTS) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.policy = policy
        self.clients = cache.mixed(clients, self.rng)
        self.tally = Tally()
        self.snapshot = b""

    def options(self) -> list[str]:
        """Of the next server."""
        smallest = self.rng.choice(("300kb", "3mb", "1gb"))
        return [
            *LOG,
            *("--appendfsync", self.policy),
            *("--io-threads", self.rng.choice("123")),
            *("--auto-aof-rewrite-min-size", smallest),
            *("--session-revocation-fsync", self.rng.choice(("yes", "no"))),
            *("--aof-use-rdb-preamble", self.rng.choice(("yes", "no"))),
        ]

    def round(self) -> None:
        """Starts, checks, writes, and ends a server."""
        if self.tally.rounds and self.rng.randrange(5) == 0:
            killed_while_starting(self.folder, self.rng.random() * 0.06, *self.options())
            self.tally.kills += 1
        server = both(self.folder, *self.options())
        try:
            if not self.tally.rounds:
                prepare(server)
            self.check(server.ports)
            self.load(server)
        finally:
            server.kill()
        self.check_snapshot()
        self.tally.rounds += 1

    def check(self, ports: dict[str, int]) -> None:
        """Whether the store is in a state that all clients can explain."""
        with closing(Talk(ports["resp"])) as talk:
            for client, seen in zip(self.clients, look(ports, self.clients), strict=True):
                self.tally.unknown += len(client.loose) + len(client.pending)
                self.tally.kept += client.settle(seen)
            check_sum(talk)
            check_fillers(talk)

    def load(self, server: Server) -> None:
        """Lets the clients write, and the server die."""
        control = Control(server.port, self.clients, self.policy, self.rng)
        flow = Flow(server.ports, self.clients, self.rng, control)
        before = [client.acknowledged for client in self.clients]
        for _ in range(self.rng.randrange(5)):
            flow.run(self.rng.random() * 0.15)
            control.change()
        if not control.now.logged and self.rng.randrange(3):
            self.log_again(flow, control)
        # Soon after the last of them, or any time.
        flow.run(self.rng.random() * self.rng.choice((0.02, 0.1, 0.5)))
        if self.rng.randrange(10) == 0:
            server.process.terminate()
            flow.run(10, until_closed=True)
            assert server.process.wait(30) == 0, server.log.read_text()[-2000:]
            self.tally.stops += 1
        else:
            server.process.kill()
            server.process.wait()
            self.tally.kills += 1
        flow.close()
        self.tally.snapshots += control.snapshots
        self.tally.rewrites += control.rewrites
        self.tally.switches += control.switches
        self.tally.renewed += control.renewed
        self.tally.off += not control.now.logged
        for client, count in zip(self.clients, before, strict=True):
            self.tally.acknowledged += client.acknowledged - count
            self.tally.cached += (client.acknowledged - count) * (client.port == "cache")

    def log_again(self, flow: Flow, control: Control) -> None:
        """Has the log switched on again, while clients write."""
        deadline = time.monotonic() + 20
        while not control.now.logged:
            # It's refused while the log is being ended, or something else is written.
            control.change("appendonly")
            flow.run(0.02)
            assert time.monotonic() < deadline, "the log isn't on again"

    def check_snapshot(self) -> None:
        """Loads the last snapshot elsewhere, if there is a new one."""
        path = self.folder / "dump.rdb"
        written = path.read_bytes() if path.exists() else b""
        if written == self.snapshot:
            return
        self.snapshot = written
        copy = self.folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        (copy / "dump.rdb").write_bytes(written)
        server = ours(copy, "--appendonly", "no")
        try:
            with closing(Talk(server.port)) as talk:
                check_sum(talk)
                check_fillers(talk)
        finally:
            server.kill()


class Flow:
    """The connections of all clients, in one loop, with that of who controls the server."""

    def __init__(
        self, ports: dict[str, int], clients: list[Client], rng: random.Random, control: Control
    ) -> None:
        self.selector = selectors.DefaultSelector()
        self.control = control
        self.lines: list[Line] = []
        for client in clients:
            # Most wait for each answer, some don't.
            depth = rng.choice((1, 1, 1, 2, 8))
            line = Line(client, Wire(ports[client.port], client.parse), depth)
            self.lines.append(line)
            self.selector.register(line.wire.socket, selectors.EVENT_READ, line)
            line.wire.send(client.greeting())

    def run(self, seconds: float, until_closed: bool = False, steps: float = inf) -> None:
        """Lets the clients go on for so long, or for about so many steps."""
        end = time.monotonic() + seconds
        steps += self.acknowledged()
        while (left := end - time.monotonic()) > 0 and self.acknowledged() < steps:
            for key, _ in self.selector.select(min(left, 0.05)):
                line: Line = key.data
                line.go_on()
                if not line.wire.is_open:
                    self.selector.unregister(key.fileobj)
            self.control.hear()
            if not self.selector.get_map():
                assert until_closed, "the server closed its connections"
                return

    def acknowledged(self) -> int:
        return sum(line.client.acknowledged for line in self.lines)

    def close(self) -> None:
        """Takes what was answered before the server went."""
        for line in self.lines:
            line.take()
            line.wire.close()
        self.control.close()
        self.selector.close()


class Line:
    """A client on its connection."""

    def __init__(self, client: Client, wire: Wire, depth: int) -> None:
        self.client = client
        self.wire = wire
        self.depth = depth
        self.answers: list[object] = []
        self.greeted = False

    def go_on(self) -> None:
        """Takes answers, and asks for more once there is nothing to wait for."""
        self.take()
        if self.wire.is_open and self.greeted and not self.client.pending:
            steps = [self.client.next_step() for _ in range(self.depth)]
            self.wire.send(b"".join(step.sent() for step in steps))

    def take(self) -> None:
        """Tells the client what was answered."""
        self.answers += self.wire.replies()
        if not self.greeted and self.answers:
            assert self.answers.pop(0) == self.client.greeted
            self.greeted = True
        while self.client.pending and len(self.answers) >= self.client.pending[0].replies:
            count = self.client.pending[0].replies
            some, self.answers = self.answers[:count], self.answers[count:]
            self.client.told(some)


def prepare(server: Server) -> None:
    """What is there before anybody writes."""
    commands = [("SET", f"a:{n}", START_SUM // ACCOUNTS) for n in range(ACCOUNTS)]
    commands += [("SET", f"filler:{n}", filler(n)) for n in range(FILLERS)]
    with closing(Talk(server.port)) as talk:
        assert set(talk.ask_all(commands)) == {"OK"}


def filler(number: int) -> bytes:
    return random.Random(number).randbytes(100 + number % 300)


def check_sum(talk: Talk, right: int = START_SUM) -> None:
    """What nobody may change."""
    talk.ask("SELECT", 0)
    accounts = talk.ask("MGET", *(f"a:{n}" for n in range(ACCOUNTS)))
    total = sum(int(account or 0) for account in accounts)
    assert total == right, f"the sum is {total}, not {right}"


def check_fillers(talk: Talk) -> None:
    """What nobody changes, as far as a sample tells."""
    numbers = random.sample(range(FILLERS), 300)
    found = talk.ask("MGET", *(f"filler:{n}" for n in numbers))
    assert found == [filler(n) for n in numbers], "fillers differ"


def look(ports: dict[str, int], clients: list[Client], fillers: int = FILLERS) -> list[Seen]:
    """What the store holds of each client's."""
    seen = [Seen(int(time.time() * 1000)) for _ in clients]
    with closing(Talk(ports["resp"])) as talk:
        for db in (0, 1):
            talk.ask("SELECT", db)
            names = listed(talk)
            count = sum(name.startswith("filler:") for name in names)
            assert count == (0 if db else fillers), f"{count} fillers in database {db}"
            for name in names:
                letter, number, *_ = name.split(":")
                if letter in ("a", "filler"):
                    continue
                client = clients[int(number)]
                assert client.db == db, f"{name} is in database {db}"
                seen[client.number].listed.add(name)
            for client in clients:
                if client.db == db:
                    read(talk, client, seen[client.number])
    with closing(Talk(ports["cache"], cache.parse)) as talk:
        for client in clients:
            if client.port == "cache":
                cache.read_beside(talk, seen[client.number])
    return seen


def listed(talk: Talk) -> set[str]:
    """All keys of a database."""
    names: set[str] = set()
    cursor: object = 0
    while True:
        cursor, some = talk.ask("SCAN", cursor, "COUNT", 5000)
        names |= {name.decode() for name in some}
        if cursor == b"0":
            return names


def read(talk: Talk, client: Client, seen: Seen) -> None:
    """Reads a client's keys in one go."""
    keys = sorted(client.keys() | seen.listed)
    commands: list[tuple[object, ...]] = []
    for key in keys:
        if key[0] == "s":
            commands.append(("SESSION.LOAD", key, "PEEK"))
        elif key[0] == "h":
            commands.append(("HGETALL", key))
        else:
            commands += [("GET", key), ("PEXPIRETIME", key)]
    commands += [("SESSION.LIST", user) for user in client.users()]
    answers = iter(talk.ask_all(commands))
    for key in keys:
        answer = next(answers)
        seen.values[key] = answer if key[0] in "sh" else (answer, next(answers))
    for user in client.users():
        seen.users[user] = {row[0].decode() for row in next(answers)}
    seen.ended_ms = int(time.time() * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=os.environ.get("ROUNDS", 200))
    parser.add_argument("--policy", choices=(*POLICIES, "all"), default="all")
    seed = os.environ.get("SEED", time.time_ns() % 1_000_000)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    asked = parser.parse_args()
    for policy in POLICIES if asked.policy == "all" else (asked.policy,):
        print(f"{policy}: SEED={asked.seed}, {asked.rounds} rounds", flush=True)
        root = Path(tempfile.mkdtemp(prefix="crash-"))
        crash = Crash(root / "data", policy, asked.seed, asked.clients)
        crash.folder.mkdir()
        began = time.monotonic()
        try:
            for number in range(asked.rounds):
                crash.round()
                if number % 10 == 9:
                    print(f"  {time.monotonic() - began:4.0f} s: {crash.tally}", flush=True)
        except BaseException:
            print(f"{policy}, SEED={asked.seed}: round {crash.tally.rounds}; files are in {root}")
            raise
        shutil.rmtree(root)
        print(f"{policy}: {crash.tally}", flush=True)


if __name__ == "__main__":
    main()
