"""What becomes of sessions is counted, and a live one that is evicted is told of in the log."""

from __future__ import annotations

import re
import time

from durable_servers import LOG, NO_LOG, ours, running

SECONDS = 30
TOLD = re.compile(r"live sessions evicted, see `maxmemory`: (\d+); since the start (\d+)")


def counts(client) -> tuple[int, ...]:
    info = client.info("stats")
    return tuple(info[f"sessile_{what}_sessions"] for what in ("created", "rotated", "ended"))


def test_what_commands_do_to_sessions_is_counted_and_a_restart_counts_nothing(folder):
    with running(ours(folder, *LOG)) as client:
        do = client.execute_command
        for name in "abcdefghi":
            do("SESSION.CREATE", name, "USER", f"user {name in 'ab'}")
        do("SESSION.SAVE", "a", "SET", 1, "f", "v")
        do("SESSION.ROTATE", "a", "a2", "GRACE", 60)
        do("SESSION.ROTATE", "b", "b2", "HARD")
        client.rename("c", "c2")
        client.move("d", 1)
        client.copy("e", "e2")
        assert counts(client) == (9, 2, 0)
        do("SESSION.END", "a2")
        client.delete("c2")
        client.set("e", "a string")
        payload = client.dump("e")
        client.restore("f", 0, payload, replace=True)
        client.expireat("g", 1)
        assert counts(client) == (9, 2, 5)
        do("SESSION.ENDALL", "user False")
        # In the first database `h` and `i` were left.
        assert counts(client) == (9, 2, 7)
        do("FLUSHALL")
        assert counts(client) == (9, 2, 9), "b2, and d in the other database"
        do("SESSION.CREATE", "last")
    with running(ours(folder, *LOG)) as client:
        assert client.execute_command("SESSION.LOAD", "last")
        assert counts(client) == (0, 0, 0)


def test_the_log_tells_of_every_live_session_that_was_evicted(folder):
    small = ("--maxmemory", "24mb", "--maxmemory-policy", "allkeys-lru")
    server = ours(folder, *NO_LOG, *small)
    with running(server) as client:
        pipe = client.pipeline(transaction=False)
        for number in range(60_000):
            words = ("IDLE", 100_000, "SET", 1, "f", "x" * 600)
            pipe.execute_command("SESSION.CREATE", f"session:{number}", *words)
            if number % 1000 == 999:
                pipe.execute()
        evicted = client.info("stats")["sessile_evicted_sessions"]
        assert evicted > 10_000
        deadline = time.monotonic() + SECONDS
        while not (told := TOLD.findall(server.log.read_text())) or int(told[-1][1]) < evicted:
            assert time.monotonic() < deadline, told
            time.sleep(0.01)
        assert [int(since) for _, since in told] == [
            sum(int(some) for some, _ in told[: n + 1]) for n in range(len(told))
        ]
        assert int(told[-1][1]) == client.info("stats")["sessile_evicted_sessions"]
