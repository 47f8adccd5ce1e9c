"""LATENCY: what kept requests waiting is told by its name."""

from __future__ import annotations

import pytest

from durable_servers import LOG, ours, running
from test_faults import fault, increments

THRESHOLD_MS = 40
DELAY_MS = 150
WATCHED = (*LOG, "--latency-monitor-threshold", str(THRESHOLD_MS))


def samples(client, event: str) -> list[list[int]]:
    return client.execute_command("LATENCY", "HISTORY", event)


@pytest.mark.parametrize(
    ("call", "event", "advice"),
    [("fdatasync", "aof-fsync", "The disk syncs slowly"), ("write", "aof-write", "takes writes")],
)
def test_a_slow_disk_is_told(folder, call, event, advice):
    server = ours(folder, *WATCHED, "--appendfsync", "always")
    with running(server) as client:
        # It's the disk of a real machine: it may have been slow already.
        client.execute_command("LATENCY", "RESET")
        with fault(server, f"{call}:delay_enter={DELAY_MS * 1000}", *increments(folder)):
            client.set("k", 1)
        longest = max(ms for _, ms in samples(client, event))
        assert longest >= DELAY_MS
        latest = {row[0].decode(): row[3] for row in client.execute_command("LATENCY", "LATEST")}
        assert latest[event] >= longest
        told = client.execute_command("LATENCY", "DOCTOR").decode()
        assert f"{event}: " in told
        assert advice in told
        assert client.execute_command("LATENCY", "RESET", event) == 1
        assert samples(client, event) == []


def test_a_slow_command_is_told_and_nothing_without_a_threshold(folder):
    options = (*WATCHED, "--enable-debug-command", "yes")
    with running(ours(folder, *options)) as client:
        client.execute_command("DEBUG", "SLEEP", "0.1")
        assert max(ms for _, ms in samples(client, "command")) >= 100
        client.config_set("latency-monitor-threshold", 0)
        client.execute_command("LATENCY", "RESET")
        client.execute_command("DEBUG", "SLEEP", "0.1")
        assert samples(client, "command") == []
