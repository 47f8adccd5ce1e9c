"""Clients have taken every descriptor that they may: files are written as ever. With none at all
nothing is lost."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from durable_servers import (
    LOG,
    Server,
    check,
    command_of,
    everything,
    fill,
    ours,
    rewritten,
    running,
)
from servers import free_port

DESCRIPTORS = 160


def taken(server: Server, hold: ExitStack) -> int:
    """Connects until no more are taken; how many were."""
    for number in range(DESCRIPTORS):
        wire = socket.create_connection(("127.0.0.1", server.port), 20)
        wire.sendall(b"PING\r\n")
        try:
            answer = wire.recv(100)
        except ConnectionResetError:
            answer = b""
        if answer != b"+PONG\r\n":
            wire.close()
            assert not answer or b"max number of clients" in answer, answer
            return number
        hold.enter_context(wire)
    raise AssertionError("clients may take them all")


def limited(server: Server, descriptors: int) -> None:
    """So many it may have from now on; the limit above that stays."""
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (descriptors, DESCRIPTORS))


def test_snapshots_and_rewrites_go_on_when_clients_have_all_descriptors(folder):
    port = free_port()
    limit = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    server = Server([*limit, *command_of(folder, port, *LOG)], folder, port)
    client = redis.Redis(port=port, socket_timeout=20, single_connection_client=True)
    try:
        soft, _ = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert soft == DESCRIPTORS
        before = fill(client)
        with ExitStack() as hold:
            assert taken(server, hold) >= DESCRIPTORS // 4
            assert client.save()
            rewritten(client)
            facts = client.info("persistence")
            assert facts["rdb_last_bgsave_status"] == facts["aof_last_bgrewrite_status"] == "ok"
            assert client.set("after", 1)
            assert client.delete("after") == 1
            assert check(folder / "dump.rdb")[1]
            # Without any descriptor at all both are errors that leave nothing behind.
            snapshot = (folder / "dump.rdb").read_bytes()
            held = Path(f"/proc/{server.process.pid}/fd").iterdir()
            limited(server, min(set(range(DESCRIPTORS)) - {int(path.name) for path in held}))
            with pytest.raises(redis.ResponseError):
                client.save()
            with pytest.raises((redis.ResponseError, AssertionError)):
                rewritten(client)
            facts = client.info("persistence")
            assert facts["rdb_last_bgsave_status"] == facts["aof_last_bgrewrite_status"] == "err"
            assert client.set("after", 1)
            assert client.delete("after") == 1
            assert (folder / "dump.rdb").read_bytes() == snapshot
            assert not list(folder.glob("**/temp-*"))
            limited(server, DESCRIPTORS)
            assert client.save()
    finally:
        client.close()
        server.kill()
    with running(ours(folder, *LOG)) as client:
        assert everything(client) == before
