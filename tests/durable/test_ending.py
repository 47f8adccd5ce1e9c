"""How a server ends: what is saved then, and when it refuses to."""

from __future__ import annotations

import random
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from durable_servers import LOG, NO_LOG, ours, running
from test_faults import fault, one_try
from test_growth import until

RULE = ("--save", "3600 1000000")
"""A rule that nothing here meets before the end."""
SECONDS = 60


def ask(server, *words) -> None:
    """Tells the server to end, and waits until it has; an error is raised."""
    try:
        server.client.execute_command("SHUTDOWN", *words)
    except redis.ConnectionError:
        server.process.wait(SECONDS)
        server.client.close()
        return
    raise AssertionError("there was an answer")


def kept(folder) -> list[bytes]:
    """What the next start has, which keeps nothing itself."""
    with running(ours(folder, *NO_LOG)) as client:
        return sorted(client.keys())


@pytest.mark.parametrize(
    ("rule", "words", "saved"),
    [
        ((), (), False),
        (RULE, (), True),
        (RULE, ("NOSAVE",), False),
        ((), ("SAVE",), True),
        (RULE, ("NOW",), True),
        (RULE, ("FORCE",), True),
        (RULE, ("NOSAVE", "NOW", "FORCE"), False),
    ],
)
def test_what_is_saved_at_the_end(folder, rule, words, saved):
    server = ours(folder, *NO_LOG, *rule)
    server.client.set("k", 1)
    ask(server, *words)
    assert server.process.returncode == 0
    assert kept(folder) == ([b"k"] if saved else [])


def test_a_signal_ends_as_the_rules_say(folder):
    for rule, expected in (((), []), (RULE, [b"k"])):
        server = ours(folder, *NO_LOG, *rule)
        server.client.set("k", 1)
        assert server.stop() == 0
        assert kept(folder) == expected


def test_a_rule_saves_by_itself(folder):
    server = ours(folder, *NO_LOG, "--save", "1 3 3600 1")
    client = server.client
    assert client.info("persistence")["rdb_saves"] == 0
    for n in range(3):
        client.set(f"k:{n}", n)
    info = until(client, lambda info: info["rdb_saves"] > 0)
    assert info["rdb_changes_since_last_save"] == 0 and info["rdb_last_bgsave_status"] == "ok"
    client.config_set("save", "")
    client.set("later", 1)
    server.kill()
    assert kept(folder) == [b"k:0", b"k:1", b"k:2"]


def test_an_end_that_would_lose_something_is_refused_unless_it_is_forced(folder):
    server = ours(folder, *NO_LOG, *RULE)
    client = server.client
    client.set("k", 1)
    # No file can take the place of that.
    (folder / "dump.rdb" / "inside").mkdir(parents=True)
    for words in ((), ("SAVE",), ("NOW",)):
        with pytest.raises(redis.ResponseError, match="Errors trying to SHUTDOWN"):
            client.execute_command("SHUTDOWN", *words)
        assert client.get("k") == b"1"
    with pytest.raises(redis.ResponseError, match="No shutdown in progress"):
        client.execute_command("SHUTDOWN", "ABORT")
    client.set("more", 1)
    (folder / "dump.rdb" / "inside").rmdir()
    (folder / "dump.rdb").rmdir()
    ask(server)
    assert kept(folder) == [b"k", b"more"]
    server = ours(folder, *NO_LOG, *RULE)
    (folder / "dump.rdb").rename(folder / "aside")
    (folder / "dump.rdb" / "inside").mkdir(parents=True)
    ask(server, "FORCE")
    assert server.process.returncode == 1
    assert "dump.rdb" in server.log.read_text().splitlines()[-1]


def test_writes_until_the_very_end_are_saved(folder):
    server = ours(folder, *NO_LOG, *RULE)
    with redis.Redis(port=server.port) as writer:
        server.client.execute_command("CLIENT", "SETNAME", "ending")
        pipe = writer.pipeline(transaction=False)
        for n in range(2000):
            pipe.set(f"k:{n}", n)
        pipe.execute()
        ask(server)
    assert len(kept(folder)) == 2000


@pytest.mark.parametrize("meanwhile", [True, False])
def test_what_changes_while_the_end_is_saved_is_saved_too(folder, meanwhile):
    """And a snapshot that nothing has changed after is the only one."""
    server = ours(folder, *NO_LOG, *RULE, "--io-threads", "2")
    server.client.set("before", 1)
    temporary = folder / f"temp-{server.process.pid}-dump.rdb"
    # Clients are dealt out to the workers in turn, and the one that ends is busy.
    writers = [one_try(server.port) for _ in range(2)]
    acknowledged = []
    with fault(server, "fsync:delay_enter=2000000:when=1", temporary):
        ending = threading.Thread(target=ask, args=(server,))
        ending.start()
        deadline = time.monotonic() + SECONDS
        while not temporary.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        with ThreadPoolExecutor() as pool:
            if meanwhile:
                acknowledged = [key for key in pool.map(written, writers, (b"0", b"1")) if key]
                assert acknowledged, "somebody is answered while it's saved"
        ending.join()
    for writer in writers:
        writer.close()
    assert server.process.returncode == 0
    assert server.log.read_text().count("DB saved on disk") == (2 if meanwhile else 1)
    assert set(kept(folder)) >= {b"before", *acknowledged}


def written(client, key: bytes) -> bytes | None:
    """The key if it was acknowledged."""
    try:
        client.set(key, 1)
    except redis.RedisError:
        return None
    return key


def failed(folder):
    """A server whose log has failed, on a disk that takes nothing more."""
    server = ours(folder, *LOG)
    client, pid = server.client, server.process.pid
    noise = random.Random(12)
    client.set("to delete", noise.randbytes(40_000))
    client.set("to keep", noise.randbytes(40_000))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
    with pytest.raises((redis.ConnectionError, redis.ResponseError)):
        client.set("lost", "x" * 1000)
    until(client, lambda info: info["aof_last_bgrewrite_status"] == "err")
    with pytest.raises(redis.ResponseError, match="ended in memory"):
        client.delete("to delete")
    return server


@pytest.mark.parametrize("how", ["signal", "command"])
def test_a_log_that_has_failed_is_tried_once_more_at_the_end(folder, how):
    server = failed(folder)
    # By itself it's tried some seconds later.
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
    if how == "signal":
        assert server.stop() == 0
    else:
        ask(server)
        assert server.process.returncode == 0
    with running(ours(folder, *LOG)) as client:
        assert client.get("to delete") is None
        assert client.strlen("to keep") == 40_000


def test_a_log_that_cannot_be_made_whole_keeps_the_server_up_unless_it_is_forced(folder):
    server = failed(folder)
    with pytest.raises(redis.ResponseError, match="Errors trying to SHUTDOWN"):
        server.client.execute_command("SHUTDOWN")
    assert server.client.get("to delete") is None and server.client.exists("to keep")
    ask(server, "FORCE")
    assert server.process.returncode == 1


def test_what_comes_while_another_is_written_is_scheduled(folder):
    server = ours(folder, *LOG)
    client = server.client
    client.mset({f"k:{n}": f"{n}" * 40 for n in range(10_000)})
    for command in ("BGSAVE", "BGREWRITEAOF"):
        client.set_response_callback(command, lambda said, **_: said)
    deadline = time.monotonic() + SECONDS
    scheduled = set()
    # Which of the two is first is up to the threads; each has to have waited for the other once.
    while scheduled != {"rewrite", "snapshot"}:
        assert time.monotonic() < deadline
        before = client.info("persistence")
        pipe = client.pipeline(transaction=False)
        pipe.execute_command("BGSAVE")
        pipe.execute_command("BGREWRITEAOF")
        said = pipe.execute(raise_on_error=False)
        if said == [
            b"Background saving started",
            b"Background append only file rewriting scheduled",
        ]:
            scheduled.add("rewrite")
        until(client, lambda info, old=before: idle(info) and has_both(info, old))
        before = client.info("persistence")
        pipe.execute_command("BGREWRITEAOF")
        pipe.execute_command("SAVE")
        pipe.execute_command("BGSAVE")
        pipe.execute_command("BGSAVE", "SCHEDULE")
        said = pipe.execute(raise_on_error=False)
        if said[3] == b"Background saving scheduled":
            assert "append only file rewriting already in progress" in str(said[1])
            assert "Use BGSAVE SCHEDULE" in str(said[2])
            scheduled.add("snapshot")
        until(client, lambda info, old=before: idle(info) and has_both(info, old))
    assert client.info("persistence")["aof_rewrite_scheduled"] == 0
    server.stop()


def idle(info) -> bool:
    return not info["rdb_bgsave_in_progress"] and not info["aof_rewrite_in_progress"]


def has_both(info, before) -> bool:
    return info["rdb_saves"] > before["rdb_saves"] and info["aof_rewrites"] > before["aof_rewrites"]
