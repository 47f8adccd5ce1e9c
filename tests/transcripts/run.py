#!/usr/bin/env python3
"""Runs the transcripts against our server and the real ones: run.py [--ours BIN | --redis |
--memcached | --all] [FILTER].

Every case must get the same bytes from each server it runs against (the format: script.py).
Without an option all three are judged; real servers that are not installed are skipped, and said
so. Nothing sleeps: a read ends with the expected lines or at a deadline, and a sentinel at the end
of a case proves that nothing more was sent. A case that failed is played again if it was held up.
`--record` fills sends that have no expectation with what the real server of that file says; what
it wrote is then read by a person. Standard library only.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tools"))

from script import Case, ScriptError, Step, escape, line_matches, parse  # noqa: E402

from servers import RIVALS, Store, server_bin  # noqa: E402

DEADLINE_SECONDS = 30.0
QUIET_SECONDS = 0.03
HELD_UP_SECONDS = 0.3
"""A case that took longer and failed may have found less time left than it set."""
TRIES = 5
MOST_LINES = 100_000
SENTINELS = {
    "resp": (b"*1\r\n$5\r\nRESET\r\n", b"+RESET\r\n"),
    "memcached": (b"mn\r\n", b"MN\r\n"),
}


class Wire:
    """One connection that reads lines until a deadline."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, DEADLINE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.closed = False

    def send(self, data: bytes) -> None:
        """Sends all; a server that has closed already is noticed by the next read."""
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def line(self, seconds: float = DEADLINE_SECONDS) -> bytes | None:
        """The next line with its end, or None at the deadline or the end of the stream."""
        end = time.monotonic() + seconds
        while (cut := self.buffer.find(b"\n") + 1) == 0:
            left = end - time.monotonic()
            if left <= 0 or not self.fill(left):
                return None
        found = bytes(self.buffer[:cut])
        del self.buffer[:cut]
        return found

    def fill(self, seconds: float) -> bool:
        """Reads once; False at the deadline or the end."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        self.closed = self.closed or not data
        self.buffer += data
        return bool(data)

    def value(self) -> list[bytes]:
        """All lines of one RESP value (none at the deadline)."""
        lines: list[bytes] = []
        pending = 1
        while pending and len(lines) < MOST_LINES:
            head = self.line()
            if head is None:
                return lines
            lines.append(head)
            pending -= 1
            kind, number = head[:1], head[1:-2]
            if kind in b"$=!" and number != b"-1":
                lines.append(self.exactly(int(number) + 2))
            elif kind in b"*~>%" and number != b"-1":
                pending += int(number) * (2 if kind == b"%" else 1)
        return lines

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the deadline."""
        while len(self.buffer) < size and self.fill(DEADLINE_SECONDS):
            pass
        found = bytes(self.buffer[:size])
        del self.buffer[:size]
        return found

    def rest(self) -> list[bytes]:
        """What still comes until the line is quiet; for diffs, recording and asking again."""
        while self.fill(QUIET_SECONDS):
            pass
        found = self.buffer.splitlines(keepends=True)
        self.buffer.clear()
        return [bytes(line) for line in found]


class Side:
    """A server under test: which cases it takes, and how to empty it."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.ours = name == "ours"
        self.ports = {"resp": store.port, "memcached": store.memcached_port}
        self.protocols = (
            ("resp", "memcached")
            if self.ours
            else (("resp",) if name == "redis" else ("memcached",))
        )

    def takes(self, case: Case) -> bool:
        """Whether the case is meant for this side."""
        if case.side == ("real" if self.ours else "ours"):
            return False
        return all(protocol in self.protocols for protocol in case.conns.values())

    def open(self, protocol: str) -> Wire:
        """A new connection."""
        return Wire(("127.0.0.1", self.ports[protocol]))

    def flush(self) -> None:
        """An empty store, whatever the last case left."""
        for protocol, words in (
            ("resp", b"CLIENT UNPAUSE\r\nFLUSHALL SYNC\r\n"),
            ("memcached", b"flush_all\r\nmn\r\n"),
        ):
            if protocol in self.protocols:
                wire = self.open(protocol)
                wire.send(words)
                wire.line()
                wire.line()
                wire.socket.close()


def run_case(side: Side, case: Case) -> list[str]:
    """Plays a case; the lines of a diff, none if it passed."""
    side.flush()
    wires = {name: side.open(protocol) for name, protocol in case.conns.items()}
    wanted: list[str] = []
    got: list[str] = []
    for step in case.steps:
        wire = wires[step.conn]
        wire.send(step.send)
        good = play(side, wire, step, wanted, got)
        if not good:
            break
    else:
        for name, wire in wires.items():
            send, reply = SENTINELS[case.conns[name]]
            if not wire.closed:
                wire.send(send)
                wanted.append(f"< {escape(reply)}  (sentinel, {name})")
                line = wire.line()
                got.append(wanted[-1] if line == reply else show(line) + f"  (sentinel, {name})")
    for wire in wires.values():
        wire.socket.close()
    return list(difflib.unified_diff(wanted, got, "expected", side.name, lineterm="", n=3))


def show(line: bytes | None) -> str:
    """A received line as a transcript has it."""
    return "<none" if line is None else f"< {escape(line)}"


def play(side: Side, wire: Wire, step: Step, wanted: list[str], got: list[str]) -> bool:
    """Reads what a step expects into the two columns; False at the first difference."""
    wanted.append(step.source)
    got.append(step.source)
    for marker, text in step.expect:
        if marker in ("<ours", "<real"):
            if (marker == "<ours") != side.ours:
                continue
            marker = "<"
        if marker == "<none":
            continue
        wanted.append(f"{marker} {text}".rstrip())
        if marker == "<closed":
            line = wire.line()
            ok, lines = line is None and wire.closed, [line]
        elif marker == "<*":
            value = wire.value()
            ok, lines = bool(value) and line_matches(marker, text, value[0]), value[:1] or [None]
        elif marker == "<poll":
            line = poll(wire, step.send, text)
            ok, lines = line is not None and line_matches("<", text, line), [line]
        elif marker == "<until":
            line = wire.line()
            for _ in range(MOST_LINES):
                if line is None or line == text.encode() + b"\r\n":
                    break
                line = wire.line()
            ok, lines = line is not None, [line]
        else:
            line = wire.line()
            ok, lines = line is not None and line_matches(marker, text, line), [line]
        got.extend([wanted[-1]] if ok else map(show, lines))
        if not ok:
            got.extend(map(show, wire.rest()))
            return False
    return True


def poll(wire: Wire, send: bytes, text: str) -> bytes | None:
    """The reply line that is awaited, or the last one before the deadline."""
    line = wire.line()
    end = time.monotonic() + DEADLINE_SECONDS
    while line is not None and not line_matches("<", text, line) and time.monotonic() < end:
        wire.rest()
        wire.send(send)
        line = wire.line()
    return line


def record(side: Side, path: Path) -> None:
    """Writes the real server's replies under every send of the file that expects nothing yet."""
    lines = path.read_text().splitlines()
    added = 0
    for case in parse(path):
        if not side.takes(case):
            continue
        side.flush()
        wires = {name: side.open(protocol) for name, protocol in case.conns.items()}
        for step in case.steps:
            wire = wires[step.conn]
            wire.send(step.send)
            if step.expect:
                wire.rest()
                continue
            found = [show(line) for line in wire.rest()]
            found += ["<closed"] if wire.closed else [] if found else ["<none"]
            at = step.line + added
            lines[at:at] = found
            added += len(found)
        for wire in wires.values():
            wire.socket.close()
    path.write_text("\n".join(lines) + "\n")


def judge(side: Side, cases: list[Case]) -> tuple[int, int]:
    """Runs the cases that the side takes; how many passed and failed."""
    passed = failed = 0
    for case in cases:
        if not side.takes(case):
            continue
        try:
            diff = judge_case(side, case)
        except OSError as error:
            diff = [f"the server is gone: {error}"]
        if diff:
            failed += 1
            print(f"FAILED {side.name}: {case.path.name}:{case.line} {case.name}")
            print("\n".join(f"    {line}" for line in diff), flush=True)
        else:
            passed += 1
    return passed, failed


def judge_case(side: Side, case: Case) -> list[str]:
    """The diff of a case, of the last try if the machine held others up."""
    for _ in range(TRIES):
        began = time.monotonic()
        diff = run_case(side, case)
        took = time.monotonic() - began
        # What didn't come before the deadline doesn't come.
        if not diff or not HELD_UP_SECONDS < took < DEADLINE_SECONDS:
            break
    return diff


def main() -> int:
    """Parses the arguments and judges; the exit status."""
    options = argparse.ArgumentParser(description="transcripts against ours and the real servers")
    options.add_argument("--ours", metavar="BIN")
    options.add_argument("--redis", action="store_true")
    options.add_argument("--memcached", action="store_true")
    options.add_argument("--all", action="store_true")
    options.add_argument("--record", action="store_true", help="fill empty expectations")
    options.add_argument("filter", nargs="?", default="", help="regex over `file: case`")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with us
    try:
        files = sorted([*HERE.glob("*.resp"), *HERE.glob("*.mc")])
        cases = [case for path in files for case in parse(path)]
    except ScriptError as error:
        print(f"transcripts: {error}", file=sys.stderr)
        return 2
    cases = [c for c in cases if re.search(chosen.filter, f"{c.path.name}: {c.name}")]
    everything = chosen.all or not (chosen.ours or chosen.redis or chosen.memcached)
    passed = failed = 0
    if chosen.record or everything or chosen.redis or chosen.memcached:
        missing = [n for n in ("redis-server", "memcached") if not shutil.which(n)]
        if missing:
            print(f"skipped the real servers: {', '.join(missing)} not installed")
        else:
            with Store(command=RIVALS) as store:
                sides = [Side("redis", store), Side("memcached", store)]
                if chosen.record:
                    for path in files:
                        if re.search(chosen.filter, path.name):
                            record(sides[path.suffix == ".mc"], path)
                    return 0
                for side in sides:
                    if everything or getattr(chosen, side.name):
                        counts = judge(side, cases)
                        passed, failed = passed + counts[0], failed + counts[1]
    if chosen.ours or everything:
        with Store(command=str(Path(chosen.ours or server_bin()).resolve())) as store:
            counts = judge(Side("ours", store), cases)
            passed, failed = passed + counts[0], failed + counts[1]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
