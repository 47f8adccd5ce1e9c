"""DEBUG RELOAD and LOADAOF: emptied and loaded again, under a running server."""

from __future__ import annotations

import threading

import pytest
import redis

from durable_servers import LOG, NO_LOG, everything, fill, ours, running
from test_faults import one_try

DEBUG = ("--enable-debug-command", "yes")
SECONDS = 20


def test_nobody_may_unless_it_is_switched_on(folder):
    with running(ours(folder)) as client:
        for word in ("RELOAD", "LOADAOF"):
            with pytest.raises(redis.ResponseError, match="not allowed"):
                client.execute_command("DEBUG", word)


@pytest.mark.parametrize("log", [LOG, NO_LOG], ids=["log", "no log"])
def test_everything_is_there_again_and_stays(folder, log):
    words = ["RELOAD", "LOADAOF", "RELOAD"] if log is LOG else ["RELOAD", "RELOAD NOSAVE"]
    with running(ours(folder, *log, *DEBUG)) as client:
        before = fill(client)
        client.execute_command(
            "SESSION.CREATE", "session", "IDLE", 5000, "MAX", 9000, "USER", "u", "SET", 1, "f", "v"
        )
        client.execute_command("SESSION.CREATE", "ended", "USER", "u")
        client.execute_command("SESSION.END", "ended")
        for word in words:
            if "NOSAVE" in word:
                client.save()
            assert client.execute_command("DEBUG", *word.split()) in (b"OK", True, "OK")
            after = everything(client)
            after.pop((0, b"session"))
            assert after == before
            loaded = client.execute_command("SESSION.LOAD", "session", "PEEK")
            assert loaded[3] == b"u", loaded
            assert client.execute_command("SESSION.LIST", "u")[0][0] == b"session"
            assert client.execute_command("SESSION.LOAD", "ended") is None
            # What comes next is kept.
            client.set("next", word)
            before[0, b"next"] = (word.encode(), False)
        if log is NO_LOG:
            client.save()
    with running(ours(folder, *log)) as client:
        after = everything(client)
        after.pop((0, b"session"))
        assert after == before


def test_clients_at_work_are_told_to_wait_and_lose_nothing(folder):
    server = ours(folder, *LOG, *DEBUG, "--io-threads", "4")
    over = threading.Event()
    told = dict.fromkeys(range(8), 0)

    def write(number: int) -> None:
        mine = one_try(server.port)
        n = 0
        while not over.is_set():
            try:
                mine.set(f"{number}:{n}", n)
                told[number] = n = n + 1
                if n % 3 == 0:
                    mine.delete(f"{number}:{n - 3}")
            except redis.BusyLoadingError:
                # A set or the delete after it: either way it wasn't done.
                continue

    with running(server) as client:
        threads = [threading.Thread(target=write, args=(number,)) for number in told]
        for thread in threads:
            thread.start()
        reloads = 0
        # Each of them gets a word in between sometime.
        while reloads < 6 or min(told.values()) < 2:
            client.execute_command("DEBUG", "RELOAD")
            client.execute_command("DEBUG", "LOADAOF")
            reloads += 1
            assert all(thread.is_alive() for thread in threads)
        over.set()
        for thread in threads:
            thread.join(SECONDS)

        def lost(client) -> list[str]:
            wanted = [f"{number}:{n}" for number in told for n in range(told[number]) if n % 3]
            found = client.mget(wanted)
            return [key for key, value in zip(wanted, found, strict=True) if value is None]

        assert lost(client) == []
    with running(ours(folder, *LOG)) as client:
        assert lost(client) == []


def test_what_can_t_be_loaded_is_an_error_before_anything_is_taken_away(folder):
    server = ours(folder, *LOG, *DEBUG)
    with running(server) as client:
        client.set("a", 1)
        with pytest.raises(redis.ResponseError, match="NOSAVE would"):
            client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        with pytest.raises(redis.ResponseError, match="NOSAVE only"):
            client.execute_command("DEBUG", "RELOAD", "MERGE")
        whole = client.pipeline(transaction=True)
        whole.execute_command("DEBUG", "RELOAD")
        with pytest.raises(redis.ResponseError, match="inside a transaction"):
            whole.execute()
        base = folder / "appendonlydir" / "appendonly.aof.1.base.rdb"
        bytes_of_it = base.read_bytes()
        base.write_bytes(bytes_of_it[:-1] + b"?")
        with pytest.raises(redis.ResponseError, match=r"base\.rdb: damaged"):
            client.execute_command("DEBUG", "LOADAOF")
        base.write_bytes(bytes_of_it)
        assert client.get("a") == b"1"
        client.execute_command("DEBUG", "LOADAOF")
        assert client.get("a") == b"1"


def test_half_a_store_is_shown_to_nobody(folder):
    value = "x" * 4000
    with running(ours(folder, *NO_LOG, "--rdbcompression", "no")) as client:
        pipe = client.pipeline(transaction=False)
        for n in range(20_000):
            pipe.set(f"key:{n}", f"{n}{value}")
        pipe.execute()
        client.save()
    written = (folder / "dump.rdb").read_bytes()
    (folder / "dump.rdb").unlink()
    server = ours(folder, *NO_LOG, *DEBUG, "--arena-max", "32mb")
    server.client.set("mine", 1)
    (folder / "dump.rdb").write_bytes(written)
    with pytest.raises(redis.ConnectionError):
        one_try(server.port).execute_command("DEBUG", "RELOAD", "NOSAVE")
    assert server.process.wait(SECONDS) == 1
    assert b"couldn't be loaded" in server.log.read_bytes()
    assert (folder / "dump.rdb").read_bytes() == written
