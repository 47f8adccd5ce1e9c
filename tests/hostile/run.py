#!/usr/bin/env python3
"""Hostile input against a server: run.py [--ours BIN | --real] [FILTER].

Every case states what must happen: `error` (a reply that starts with one of the given texts) or
`closed`, or either. Around each case two things must hold: a second, well-behaved connection keeps
being served, and resident memory, read from /proc, grows by less than FLAT, or is back there by
the deadline: what is freed is given back by a thread that leaves the processor to others. All
counts are bounded and every wait has a deadline, so the run ends by itself. Not a fuzzer: the
fuzz targets look for the unknown, this table holds what is known. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tools"))

from servers import RIVALS, Store, server_bin

MIB = 1 << 20
FLAT = 64 * MIB
DEADLINE_SECONDS = 30.0
QUIET_SECONDS = 0.5
FLOOD_SECONDS = 8.0
CONNECTIONS = 9_900  # leaves room for the good client under the default maxclients of 10,000
SPARE_FILES = 200


@dataclass(frozen=True)
class Hostile:
    """One case: bytes (or an action on the store) and what must come of it.

    `must` is a regex over the whole answer, with `<closed>` appended if the server hung up.
    """

    name: str
    protocol: str
    attack: bytes | Callable[[Store], str]
    must: str
    ours_only: str = ""


def connect(store: Store, protocol: str) -> socket.socket:
    """A connection with a deadline on every call."""
    port = store.port if protocol == "resp" else store.memcached_port
    return socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS)


def answer(wire: socket.socket, patience: float = DEADLINE_SECONDS, most: int = 1 << 16) -> str:
    """What the server says, once it begins, until it is quiet, closes, or has said `most` bytes."""
    got = b""
    wire.settimeout(patience)
    try:
        while len(got) < most:
            data = wire.recv(1 << 16)
            if not data:
                return got.decode("latin-1") + "<closed>"
            got += data
            wire.settimeout(QUIET_SECONDS)
    except TimeoutError:
        pass
    except OSError:
        return got.decode("latin-1") + "<closed>"
    return got.decode("latin-1")


def push(wire: socket.socket, data: bytes, times: int = 1) -> bool:
    """Sends; False if the server stopped taking bytes (closed, or no room until the deadline)."""
    try:
        for _ in range(times):
            wire.sendall(data)
    except OSError:
        return False
    return True


def ten_million_arguments(store: Store) -> str:
    """Announces ten million arguments and sends empty ones, as many as the server takes."""
    with connect(store, "resp") as wire:
        push(wire, b"*10000000\r\n")
        chunk = b"$0\r\n\r\n" * 10_000
        end = time.monotonic() + FLOOD_SECONDS
        for _ in range(1_000):
            if time.monotonic() > end or not push(wire, chunk):
                break
        return answer(wire, QUIET_SECONDS)


def deaf(protocol: str, request: bytes, prepare: bytes = b"") -> Callable[[Store], str]:
    """A million pipelined requests whose replies are never read."""

    def attack(store: Store) -> str:
        before = resident(store)
        with connect(store, protocol) as wire:
            if prepare:
                push(wire, prepare)
                answer(wire)
            wire.settimeout(1.0)
            sent = 0
            while sent < 1_000 and push(wire, request * 1_000):
                sent += 1
            watch(store, protocol)
            return f"{sent} rss {settled(store, before)}"

    return attack


def held(*pieces: bytes, protocol: str = "resp") -> Callable[[Store], str]:
    """Sends all pieces on one connection, reads nothing, and looks at memory while it is open."""

    def attack(store: Store) -> str:
        before = resident(store)
        with connect(store, protocol) as wire:
            wire.settimeout(1.0)
            sent = 0
            while sent < len(pieces) and push(wire, pieces[sent]):
                sent += 1
            watch(store, protocol)
            return f"{sent} rss {settled(store, before)}"

    return attack


def crowd(count: int, protocol: str, data: bytes) -> Callable[[Store], str]:
    """Connections that each send the same and then wait, against a bound on all of them."""

    def attack(store: Store) -> str:
        wires = []
        with Store(command=store.command, extra=["--maxmemory-clients", "32mb"]) as own:
            before = resident(own)
            for _ in range(count):
                wires.append(connect(own, protocol))
                wires[-1].settimeout(1.0)
                push(wires[-1], data)
            watch(own, protocol)
            grown = settled(own, before) - before
            for wire in wires:
                wire.close()
            return f"{count} rss {resident(store) + grown}"

    return attack


def bulks(*words: bytes) -> bytes:
    """A RESP request."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def watches(part: int) -> bytes:
    """A WATCH of ten thousand keys that no other part has."""
    return bulks(b"WATCH", *[b"%d:%d" % (part, n) for n in range(10_000)])


def after(prepare: bytes, attack: bytes) -> Callable[[Store], str]:
    """Prepares, then says what the attack is answered; the key `k` is gone afterwards."""

    def act(store: Store) -> str:
        with connect(store, "resp") as wire:
            push(wire, prepare)
            answer(wire)
            push(wire, attack)
            watch(store, "resp")
            said = answer(wire)
        with connect(store, "resp") as wire:
            push(wire, b"DEL k j\r\n")
            answer(wire)
        return said

    return act


def guarded(attack: bytes) -> Callable[[Store], str]:
    """What a server that wants a password answers before it got one (a server of its own)."""

    def act(store: Store) -> str:
        extra = ["--requirepass", "secret"]
        with Store(command=store.command, extra=extra) as own, connect(own, "resp") as wire:
            push(wire, attack)
            return answer(wire)

    return act


def too_many_clients(store: Store) -> str:
    """What the first connection above maxclients is told, and whether the others go on."""
    with Store(command=store.command, extra=["--maxclients", "20"]) as own:
        wires: list[socket.socket] = []
        said = ""
        try:
            while len(wires) < 40 and not said.startswith("-"):
                wires.append(connect(own, "resp"))
                push(wires[-1], b"PING\r\n")
                said = answer(wires[-1], most=7)
            said += answer(wires[-1])
            push(wires[0], b"PING\r\n")
            return said + answer(wires[0], most=7)
        finally:
            for wire in wires:
                wire.close()


def announcing_crowd(store: Store) -> str:
    """Ten thousand connections that each announce an argument of 512 MiB."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wires = []
    before = resident(store)
    try:
        for _ in range(min(CONNECTIONS, soft - SPARE_FILES)):
            try:
                wire = connect(store, "resp")
            except OSError:
                break
            wires.append(wire)
            push(wire, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nx")
        watch(store, "resp")
        return f"{len(wires)} rss {settled(store, before)}"
    finally:
        for wire in wires:
            wire.close()


def slow_bytes(protocol: str, request: bytes) -> Callable[[Store], str]:
    """One request, a byte a packet, while others are served between the bytes."""

    def attack(store: Store) -> str:
        with connect(store, protocol) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in request:
                push(wire, bytes([byte]))
                watch(store, protocol)
            return answer(wire)

    return attack


def r(name: str, attack: bytes | Callable[[Store], str], must: str, **more: object) -> Hostile:
    """A RESP case."""
    return Hostile(name, "resp", attack, must, **more)


def m(name: str, attack: bytes | Callable[[Store], str], must: str, **more: object) -> Hostile:
    """A memcached case."""
    return Hostile(name, "memcached", attack, must, **more)


BROKEN = r"-ERR Protocol error.*<closed>"
REFUSED = r"(CLIENT_ERROR|ERROR|SERVER_ERROR).*"
HTTP = r"(-ERR[^\n]*\n){0,2}<closed>$"
TLS_HELLO = bytes.fromhex("160301005a010000560303") + bytes(80)
LONG = b"x" * 1_000_000
SMALL_HASH = bulks(b"HSET", b"k", b"field", LONG[:1_000])
BILLION = bulks(b"HRANDFIELD", b"k", b"-500000000", b"WITHVALUES")
MILLION = bulks(b"MGET", *[b"k"] * 1_000_000)
STARS = bulks(b"KEYS", b"a*" * 500 + b"b")
LCS = bulks(b"LCS", b"k", b"j")
HALF = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + LONG[:-1]
MC_LONG = b"set k 0 0 1000000\r\n" + LONG + b"\r\n"
SLOW = r"STORED\r\nVALUE s 0 2\r\nhi\r\nEND\r\n$"
CASES = [
    r("multibulk 2^31", b"*2147483648\r\n", BROKEN),
    r("multibulk 2^63", b"*9223372036854775808\r\n", BROKEN),
    r("multibulk not a number", b"*1x\r\n", BROKEN),
    r("bulk 2^63", b"*1\r\n$9223372036854775808\r\n", BROKEN),
    r("bulk over 512 MiB", b"*1\r\n$536870913\r\n", BROKEN),
    r("bulk negative", b"*1\r\n$-1\r\n", BROKEN),
    r("bulk without dollar", b"*1\r\nPING\r\n", BROKEN),
    r("endless inline line", b"a" * (128 << 10), BROKEN),
    r("endless multibulk header", b"*" + b"1" * (128 << 10), BROKEN),
    r("endless bulk header", b"*1\r\n$" + b"1" * (128 << 10), BROKEN),
    r("unbalanced quotes", b'SET k "abc\r\n', BROKEN),
    r("half a command", b"*2\r\n$4\r\nECHO\r\n$5\r\nhe", "$"),
    r("empty requests", b"*0\r\n\r\n" * 100_000 + b"PING\r\n", r"\+PONG\r\n$"),
    r("NUL bytes", b"\0" * 100 + b"\r\n", r"(-ERR.*)?(<closed>)?$"),
    r("HTTP GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP),
    r("HTTP POST", b"POST / HTTP/1.1\r\nHost: a\r\n\r\nPING\r\n", HTTP),
    r("TLS hello", TLS_HELLO + b"\r\n", "(-ERR.*)?(<closed>)?$"),
    r("PROXY preface", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "-ERR unknown command"),
    r("memcached's words", b"set k 0 0 1\r\na\r\n", "-ERR syntax error"),
    r("slow bytes", slow_bytes("resp", b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n"), r"\$2\r\nhi\r\n$"),
    r("one argument too many", b"*1048577\r\n", BROKEN, ours_only="Redis takes 2^31 of them"),
    r("array in an array", b"*1\r\n*1\r\n$4\r\nPING\r\n", BROKEN),
    r("length with a sign", b"*+1\r\n", BROKEN),
    r("length with spaces", b"* 1\r\n", BROKEN),
    r("empty length", b"*1\r\n$\r\n", BROKEN),
    r("argument longer than said", b"*1\r\n$4\r\nPINGPING\r\n", "."),
    r("stars upon stars", after(bulks(b"SET", b"a" * 60_000, b"v"), STARS), r"\*0\r\n$"),
    r("LCS of long strings", after(bulks(b"MSET", b"k", LONG, b"j", LONG), LCS), "-ERR Insuff"),
    r("SETRANGE beyond all", bulks(b"SETRANGE", b"k", b"536870912", b"x"), "-ERR string exceeds"),
    r("half a billion random fields", after(SMALL_HASH, BILLION), "-ERR", ours_only="Redis grows"),
    r(
        "one value a million times",
        after(bulks(b"SET", b"k", LONG), MILLION),
        "-ERR",
        ours_only="Redis grows",
    ),
    r(
        "endless transaction",
        held(b"MULTI\r\n", *[bulks(b"SET", b"k", LONG)] * 1_000),
        ".*",
        ours_only="Redis grows",
    ),
    r(
        "endless small transaction",
        held(b"MULTI\r\n", *[b"PING\r\n" * 10_000] * 500),
        ".*",
        ours_only="Redis grows",
    ),
    r("watches without end", held(*map(watches, range(100))), ".*", ours_only="Redis grows"),
    r(
        "deaf to large values",
        deaf("resp", b"GET k\r\n", bulks(b"SET", b"k", LONG)),
        ".*",
        ours_only="Redis grows",
    ),
    r("a crowd with half a request each", crowd(500, "resp", HALF), ".*", ours_only="Redis grows"),
    r(
        "unauthenticated, many arguments",
        guarded(b"*11\r\n"),
        BROKEN,
        ours_only="the real one has no password here",
    ),
    r(
        "unauthenticated, long argument",
        guarded(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n"),
        BROKEN,
        ours_only="the real one has no password here",
    ),
    r(
        "unauthenticated",
        guarded(b"GET k\r\n"),
        r"-NOAUTH Authentication required\.\r\n$",
        ours_only="the real one has no password here",
    ),
    r(
        "one client too many",
        too_many_clients,
        r"-ERR max number of clients reached\r\n<closed>\+PONG",
        ours_only="the real ones take no settings here",
    ),
    r("ten million arguments", ten_million_arguments, ".*", ours_only="Redis takes them all"),
    r("a million deaf PINGs", deaf("resp", b"PING\r\n"), ".*"),
    r("a crowd that announces 512 MiB each", announcing_crowd, ".*", ours_only="Redis grows"),
    m("set with length 2^31", b"set k 0 0 2147483648\r\n", REFUSED),
    m("set with length 2^63", b"set k 0 0 9223372036854775808\r\n", REFUSED),
    m("set with length -1", b"set k 0 0 -1\r\n", REFUSED),
    m("1 GiB announced", b"set k 0 0 1073741824\r\nabc", f"({REFUSED})?(<closed>)?$"),
    m("meta 1 GiB announced", b"ms k 1073741824\r\nabc", f"({REFUSED})?(<closed>)?$"),
    m("meta with length 2^63", b"ms k 9223372036854775808\r\n", "CLIENT_ERROR"),
    m("meta with length -1", b"ms k -1\r\n", "CLIENT_ERROR"),
    m("meta with 10,000 flags", b"mg k" + b" v" * 10_000 + b"\r\n", f"({REFUSED})?(<closed>)?$"),
    m("key of 64 KiB", b"get " + b"k" * (64 << 10) + b"\r\n", f"({REFUSED})?(<closed>)?$"),
    m("endless line", b"x" * (128 << 10), f"({REFUSED})?<closed>"),
    m("half a value", b"set k 0 0 10\r\nabc", "$"),
    m("NUL bytes", b"\0" * 100 + b"\r\n", "(ERROR|CLIENT_ERROR).*|<closed>"),
    m("empty lines", b"\r\n" * 1_000 + b"mn\r\n", r"(ERROR\r\n)+MN\r\n$"),
    m("HTTP GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "(ERROR|<closed>)"),
    m("TLS hello", TLS_HELLO + b"\r\n", "(ERROR.*)?(<closed>)?$"),
    m("RESP's words", b"*1\r\n$4\r\nPING\r\n", "(ERROR|<closed>)"),
    m("slow bytes", slow_bytes("memcached", b"set s 0 0 2\r\nhi\r\nget s\r\n"), SLOW),
    m("value longer than said", b"set k 0 0 1\r\nabc\r\nmn\r\n", r"CLIENT_ERROR.*MN\r\n$"),
    m("one word too many", b"set k 0 0 1 noreply extra more\r\na\r\n", "(ERROR|CLIENT_ERROR)"),
    m("ten thousand keys", b"get" + b" nokey" * 10_000 + b"\r\n", r"END\r\n$"),
    m("a line of keys without end", b"get" + b" key" * 500_000, f"({REFUSED})?(<closed>)?$"),
    m(
        "counter beyond all",
        b"set n 0 0 1\r\n1\r\nincr n 18446744073709551616\r\n",
        "STORED\r\n(?s:.*)ERR",
    ),
    m("deaf to large values", deaf("memcached", b"get k\r\n", MC_LONG), ".*"),
    m(
        "a crowd with half a value each",
        crowd(500, "memcached", MC_LONG[:-9]),
        ".*",
        ours_only="memcached grows",
    ),
    m("a million deaf no-ops", deaf("memcached", b"mn\r\n"), ".*"),
]


def resident(store: Store) -> int:
    """Bytes of resident memory of all the store's processes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(
        int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * page
        for process in store.processes
    )


def settled(store: Store, before: int) -> int:
    """The same, once it has grown by no more than is allowed, or at the deadline."""
    end = time.monotonic() + DEADLINE_SECONDS
    while (now := resident(store)) > before + FLAT and time.monotonic() < end:
        time.sleep(0.01)
    return now


def watch(store: Store, protocol: str) -> None:
    """A well-behaved client's round trip; raises OSError if it is not served."""
    send, reply = (b"PING\r\n", b"+PONG\r\n") if protocol == "resp" else (b"mn\r\n", b"MN\r\n")
    with connect(store, protocol) as wire:
        wire.sendall(send)
        got = b""
        while len(got) < len(reply):
            data = wire.recv(64)
            if not data:
                raise ConnectionError("the other client was hung up on")
            got += data
        if got != reply:
            raise ConnectionError(f"the other client got {got!r}")


def run_case(store: Store, case: Hostile) -> str:
    """Plays a case; what went wrong, or an empty string."""
    before = resident(store)
    try:
        if callable(case.attack):
            said = case.attack(store)
            grown = settled(store, before) - before
            if found := re.fullmatch(r"\d+ rss (\d+)", said):
                grown = max(grown, int(found[1]) - before)
            watch(store, case.protocol)
        else:
            with connect(store, case.protocol) as wire:
                push(wire, case.attack)
                watch(store, case.protocol)
                said = said_until(wire, case.must)
                grown = settled(store, before) - before
        if not store.alive():
            return "the server died"
    except OSError as error:
        return f"not served: {error}"
    if not is_right(case.must, said):
        return f"answered {said[:200]!r}, must match {case.must!r}"
    if grown > FLAT:
        return f"grew by {grown // MIB} MiB, allowed {FLAT // MIB}"
    return ""


def said_until(wire: socket.socket, must: str) -> str:
    """What the server has said once it's quiet and that is right, or at the deadline."""
    end = time.monotonic() + DEADLINE_SECONDS
    said = answer(wire, QUIET_SECONDS)
    while not is_right(must, said) and time.monotonic() < end and not said.endswith("<closed>"):
        said += answer(wire, QUIET_SECONDS)
    return said


def is_right(must: str, said: str) -> bool:
    return re.match(must, said, re.DOTALL) is not None


def main() -> int:
    """Runs the table; the exit status."""
    options = argparse.ArgumentParser(description="hostile input")
    options.add_argument("--ours", metavar="BIN")
    options.add_argument("--real", action="store_true", help="Debian's redis-server and memcached")
    options.add_argument("filter", nargs="?", default="", help="regex over `protocol: case`")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with us
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    command = RIVALS if chosen.real else str(Path(chosen.ours or server_bin()).resolve())
    passed = failed = 0
    with Store(command=command) as store:
        for case in CASES:
            if not re.search(chosen.filter, f"{case.protocol}: {case.name}"):
                continue
            if chosen.real and case.ours_only:
                continue
            wrong = run_case(store, case)
            passed, failed = (passed, failed + 1) if wrong else (passed + 1, failed)
            if wrong:
                print(f"FAILED {case.protocol}: {case.name}: {wrong}", flush=True)
            if not store.alive():
                store.stop()
                store.start()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
