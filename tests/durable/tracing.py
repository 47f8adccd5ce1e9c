"""What a server did to its files and told its clients, in the order in which it happened.

`Traced` is a server under strace; `events` reads what strace wrote. What always holds: an event
stands where its system call had returned, a sync also says where it began, so whatever stands
before that is what the sync is for. The tracer stops each thread at each call, so a reply that
waited for a sync stands after it.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from durable_servers import command_of
from servers import free_port

CALLS = (
    "openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,lseek,fsync,fdatasync,sync_file_range,"
    "ftruncate,truncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,sendto,"
    "sendmsg,close,dup,dup2,dup3,fallocate,copy_file_range,sendfile"
)
LINE = re.compile(r"(\d+) +([\d.]+) (.*)")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
ENDS = re.compile(r"<TCP:\[[^]]*:(\d+)->[^]]*:(\d+)\]>")


class Traced:
    """A server on a folder, under strace."""

    def __init__(self, folder: Path, *options: str, slow: tuple[str, ...] = ()) -> None:
        """`slow`: calls that take longer and how much, as strace's `inject` has it."""
        self.port = free_port()
        self.ports = {"resp": self.port, "cache": free_port()}
        self.trace = folder.with_name(f"{folder.name}.trace")
        command = ["strace", "-f", "-xx", "-ttt", "-s", "100000000", "--seccomp-bpf"]
        command += ["--decode-fds=socket", "-e", "signal=none", "-e", f"trace={CALLS}"]
        for what in slow:
            command += ["-e", f"inject={what}"]
        options = ("--memcached-port", str(self.ports["cache"]), *options)
        command += ["-o", str(self.trace), *command_of(folder, self.port, *options)]
        self.log = folder.with_name(f"{folder.name}.log")
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        deadline = time.monotonic() + 30
        while b"Ready to accept" not in self.log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(self.log.read_text())
            time.sleep(0.005)
        # The traced one; the tracer ends with it.
        (self.pid,) = map(int, re.findall(r"PID: (\d+)", self.log.read_text()))
        self.client = redis.Redis(port=self.port, socket_timeout=20)

    def ended(self) -> Path:
        """Waits for its end; where the trace is."""
        self.client.close()
        self.process.wait(30)
        return self.trace


@dataclass(frozen=True)
class Call:
    """A system call that succeeded."""

    name: str
    began: int
    """The number of the event that came next when it began."""
    seconds: float
    """When it had returned, or began if it returned at once."""
    fd: int
    result: int
    texts: tuple[bytes, ...]
    """Paths, or the bytes written."""
    arguments: str
    ends: tuple[int, int] | None
    """The ports of the server and of the client whose socket it was about; None: no socket."""


def events(trace: Path) -> Iterator[Call]:
    """What happened, read once."""
    begun: dict[str, tuple[str, int]] = {}
    number = 0
    with trace.open() as lines:
        for line in lines:
            found = LINE.match(line)
            if not found:
                continue
            thread, seconds, rest = found.groups()
            if rest.endswith("<unfinished ...>"):
                rest = rest.removesuffix("<unfinished ...>").rstrip()
                begun[thread] = (rest, number)
                if rest.startswith("close("):
                    # Its number may be given to the next file before it has returned.
                    yield closing(rest, number, float(seconds))
                    number += 1
                continue
            began = number
            if resumed := RESUMED.match(rest):
                if resumed[1] == "close":
                    continue
                start, began = begun.pop(thread)
                rest = start + resumed[2]
            call = parse(rest, began, float(seconds))
            if call:
                yield call
                number += 1


def closing(text: str, number: int, seconds: float) -> Call:
    fd = int(re.match(r"close\((\d+)", text)[1])
    return Call("close", number, seconds, fd, 0, (), "", None)


def parse(text: str, began: int, seconds: float) -> Call | None:
    """A call that has returned; None if it failed, or is none."""
    found = CALL.match(text)
    if not found or found[3] == "?" or int(found[3]) < 0:
        return None
    name, arguments, result = found.groups()
    texts = tuple(bytes.fromhex(hexed.replace("\\x", "")) for hexed in TEXT.findall(arguments))
    first = re.match(r"(\d+)", arguments)
    ends = ENDS.search(arguments[:200])
    return Call(
        name,
        began,
        seconds,
        int(first[1]) if first else -1,
        int(result),
        texts,
        TEXT.sub("", arguments),
        (int(ends[1]), int(ends[2])) if ends else None,
    )
