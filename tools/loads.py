"""What measurements of servers share: redis-benchmark as a function, and the CPU of a process.

Standard library only.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

KEYS = 100_000
"""Keys that redis-benchmark draws from."""


def benchmark(
    port: int, test: str, requests: int, *, size: int, clients: int = 32, pipeline: int = 1
) -> float:
    """Requests per second by redis-benchmark, with values of `size` bytes."""
    command = ["redis-benchmark", "-p", str(port), "-t", test, "-n", str(requests), "--csv"]
    command += ["-c", str(clients), "-P", str(pipeline), "-r", str(KEYS), "-d", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1].split(",")[1].strip('"'))


def cpu_seconds(pid: int) -> float:
    """What the kernel counted for all threads of a process that are there."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9
