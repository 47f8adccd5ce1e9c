"""WAITAOF: whoever asks is told when what he wrote is on the disk, and nobody else waits."""

from __future__ import annotations

import time

import pytest
import redis

from durable_servers import LOG, NO_LOG, ours, running
from test_faults import fault, increments, one_try

SECONDS = 20
WATCHED_SECONDS = 1.2
"""More than two of the half seconds after which a log is synced."""


def told(client) -> dict:
    return client.info("persistence")


def blocked(client, count: int) -> None:
    """Waits until so many clients wait."""
    deadline = time.monotonic() + SECONDS
    while client.info("clients")["blocked_clients"] != count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def watched(client, least: int = 0) -> list[int]:
    """The counts of syncs beside writes: for a while, and until there were so many."""
    began, counts = time.monotonic(), []
    while time.monotonic() < began + WATCHED_SECONDS or counts[-1] < counts[0] + least:
        counts.append(told(client)["sessile_aof_syncs"])
        client.incr("a")
        assert time.monotonic() < began + SECONDS, counts
    return counts


def until_saved(client) -> None:
    deadline = time.monotonic() + SECONDS
    while told(client)["rdb_bgsave_in_progress"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Asker:
    """A connection that sends without waiting for what comes back."""

    def __init__(self, port: int) -> None:
        self.client = redis.Redis(port=port, socket_timeout=SECONDS, single_connection_client=True)

    def send(self, *words) -> None:
        self.client.connection.send_command(*words)

    def read(self):
        return self.client.connection.read_response()

    def leave(self) -> None:
        self.client.connection.disconnect()


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_it_answers_once_the_connection_s_writes_are_on_the_disk(folder, policy):
    with running(ours(folder, *LOG, "--appendfsync", policy)) as client:
        for n in range(20):
            before = told(client)["sessile_aof_syncs"]
            with client.client() as one:
                one.set(f"key:{n}", "v")
                assert one.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
                assert told(client)["sessile_aof_syncs"] > before
                # What is there already isn't waited for.
                assert one.execute_command("WAITAOF", 1, 0, 1) == [1, 0]
        assert client.execute_command("WAITAOF", 0, 1, 20) == [1, 0]


def test_a_pipeline_goes_on_in_order_after_it_and_a_transaction_doesn_t_wait(folder):
    with running(ours(folder, *LOG)) as client:
        pipe = client.pipeline(transaction=False)
        pipe.set("a", 1).execute_command("WAITAOF", 1, 0, 0)
        pipe.incr("a").execute_command("WAITAOF", 0, 1, 30)
        pipe.execute_command("WAITAOF", 1, 0, 0).get("a")
        replies = pipe.execute()
        assert [replies[0], *replies[1:3], *replies[4:]] == [True, [1, 0], 2, [1, 0], b"2"]
        assert replies[3] in ([0, 0], [1, 0])
        whole = client.pipeline(transaction=True)
        whole.set("a", 3).execute_command("WAITAOF", 1, 5, 0)
        assert whole.execute()[1] in ([0, 0], [1, 0])
        assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
        # As one types it, without lengths before the arguments.
        asker = Asker(client.connection_pool.connection_kwargs["port"])
        asker.client.connection._sock.sendall(b"set a 4\r\nwaitaof 1 0 0\r\nget a\r\n")
        assert [asker.read(), asker.read(), asker.read()] == [b"OK", [1, 0], b"4"]


def test_who_waits_for_ever_holds_nobody_and_may_leave(folder):
    # Long enough for those who come to begin waiting.
    server = ours(folder, *LOG, "--io-threads", "2", "--timeout", "4")
    with running(server) as client:
        askers = [Asker(server.port) for _ in range(10)]
        for asker in askers:
            # There are no replicas.
            asker.send("WAITAOF", 0, 1, 0)
        blocked(client, 10)
        assert client.set("other", 1)
        begun = time.monotonic()
        assert client.execute_command("WAITAOF", 0, 1, 50) in ([0, 0], [1, 0])
        assert 0.05 <= time.monotonic() - begun < SECONDS
        # `timeout` isn't about those who wait.
        while time.monotonic() < begun + 6:
            assert client.ping()
            time.sleep(0.05)
        blocked(client, 10)
        for asker in askers[:6]:
            asker.leave()
        blocked(client, 4)
        ids = [one["id"] for one in client.client_list() if one["cmd"] == "waitaof"]
        for one in ids:
            client.client_kill_filter(_id=one)
        blocked(client, 0)


def test_who_waits_can_be_told_to_wait_no_longer(folder):
    """CLIENT UNBLOCK: as if the time were over, or with an error; what comes next is served."""
    with running(ours(folder, *LOG, "--io-threads", "3")) as client:
        port = client.connection_pool.connection_kwargs["port"]
        for _ in range(20):
            asker = Asker(port)
            asker.send("CLIENT", "ID")
            number = asker.read()
            assert client.client_unblock(number) == 0, "it doesn't wait"
            for words, told in (((), None), (("TIMEOUT",), None), (("ERROR",), "UNBLOCKED")):
                asker.send("INCR", "n")
                # There are no replicas.
                asker.send("WAITAOF", 0, 1, 0)
                asker.send("PING")
                blocked(client, 1)
                assert client.execute_command("CLIENT", "UNBLOCK", number, *words) == 1
                assert isinstance(asker.read(), int)
                if told:
                    with pytest.raises(redis.ResponseError, match=f"^{told} client unblocked via"):
                        asker.read()
                else:
                    assert asker.read() in ([0, 0], [1, 0])
                assert asker.read() == b"PONG"
                blocked(client, 0)
                assert client.execute_command("CLIENT", "UNBLOCK", number) == 0
            # It's forgotten: who waits again waits.
            asker.send("WAITAOF", 0, 1, 0)
            blocked(client, 1)
            asker.leave()
            blocked(client, 0)
        with pytest.raises(redis.ResponseError, match="reason should be"):
            client.execute_command("CLIENT", "UNBLOCK", 1, "SOON")


def test_without_a_log_nothing_is_claimed(folder):
    with running(ours(folder, *NO_LOG)) as client:
        client.set("a", 1)
        assert client.execute_command("WAITAOF", 0, 0, 0) == [0, 0]
        with pytest.raises(redis.ResponseError, match="appendonly is disabled"):
            client.execute_command("WAITAOF", 1, 0, 0)
        # Once it's switched on, what was there before is in its base.
        client.config_set("appendonly", "yes")
        assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
        state = told(client)
        assert (state["aof_base_size"] > 0, state["aof_last_bgrewrite_status"]) == (True, "ok")
        # And who waits as it goes is told.
        asker = Asker(client.connection_pool.connection_kwargs["port"])
        asker.send("WAITAOF", 1, 1, 0)
        blocked(client, 1)
        asker.leave()


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_log_that_failed_claims_nothing_until_it_is_whole_again(folder, policy):
    server = ours(folder, *LOG, "--appendfsync", policy)
    with running(server) as client:
        client.set("before", 1)
        assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
        waiting = Asker(server.port)
        with fault(server, "fdatasync:error=EIO", *increments(folder)):
            waiting.send("SET", "key", "v")
            deadline = time.monotonic() + SECONDS
            while told(client)["aof_last_write_status"] == "ok":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            # Its own write is on the disk, but who could say so of a log that isn't whole?
            assert client.execute_command("WAITAOF", 1, 0, 50) == [0, 0]
            with pytest.raises(redis.ResponseError, match="ended in memory"):
                client.delete("before")
            patient = one_try(server.port)
            with pytest.raises(redis.ResponseError, match="ended in memory"):
                patient.delete("before", "key")
        assert patient.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
        assert told(client)["aof_last_write_status"] == "ok"
    server = ours(folder, *LOG)
    with running(server) as client:
        assert not client.exists("before", "key")


@pytest.mark.parametrize("policy", ["always", "everysec"])
@pytest.mark.parametrize("spared", [True, False], ids=["spared", "as ever"])
def test_no_sync_that_nobody_asked_for_while_a_snapshot_writes(folder, policy, spared):
    server = ours(folder, *LOG, "--appendfsync", policy)
    with running(server) as client:
        client.config_set("no-appendfsync-on-rewrite", "yes" if spared else "no")
        client.set("a", 0)
        assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
        # The log is synced by another call than whole files are; this one waits for the test.
        with fault(server, "fsync:delay_enter=60000000"):
            client.bgsave()
            client.incr("a")
            # It may have been before the snapshot began.
            assert client.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
            # The snapshot's thread begins a moment after INFO says so.
            watched(client)
            counts = watched(client, least=0 if spared else 2)
            assert told(client)["rdb_bgsave_in_progress"]
        syncs = max(counts) - min(counts)
        assert syncs <= 1 if spared else syncs >= 2, counts
        until_saved(client)
        # What was left is synced at its end.
        deadline = time.monotonic() + SECONDS
        while told(client)["sessile_aof_syncs"] <= min(counts):
            assert time.monotonic() < deadline
            time.sleep(0.01)
