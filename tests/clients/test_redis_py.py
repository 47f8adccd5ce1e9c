"""redis-py, with the hiredis parser, under RESP2 and RESP3: what a web application does with it."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
import redis
from redis.exceptions import DataError, NoScriptError, ResponseError, WatchError

TEN_MEGABYTES = 10 * 1024 * 1024


def test_hiredis_is_the_parser_under_test() -> None:
    from redis.utils import HIREDIS_AVAILABLE

    assert HIREDIS_AVAILABLE


def test_strings(client: redis.Redis) -> None:
    assert client.set("k", "v") is True
    assert client.get("k") == b"v"
    assert client.set("k", "w", nx=True) is None
    assert client.set("k", "w", xx=True, get=True) == b"v"
    assert client.append("k", "xyz") == 4
    assert client.getrange("k", 1, -1) == b"xyz"
    assert client.setrange("k", 6, "!") == 7
    assert client.get("k") == b"wxyz\0\0!"
    assert client.incrby("n", 41) == 41
    assert client.incr("n") == 42
    assert client.incrbyfloat("f", 1.5) == 1.5
    assert client.mset({"a": 1, "b": 2}) is True
    assert client.mget("a", "missing", "b") == [b"1", None, b"2"]
    assert client.msetnx({"a": 9, "c": 9}) is False
    assert client.getdel("a") == b"1"
    assert client.exists("a", "b") == 1


def test_expiry(client: redis.Redis, left) -> None:
    client.set("k", "v", ex=100)
    assert left(100, client.ttl("k"))
    assert client.getex("k", px=50_000) == b"v"
    assert left(50_000, client.pttl("k"), parts=1000)
    assert client.expire("k", 10, gt=True) is False
    assert client.expire("k", 100, gt=True) is True
    at = int(time.time()) + 1000
    assert client.expireat("k", at) is True
    assert client.expiretime("k") == at
    assert client.pexpiretime("k") == at * 1000
    assert client.persist("k") is True
    assert client.ttl("k") == -1
    assert client.ttl("missing") == -2


def test_an_expired_key_is_gone(client: redis.Redis) -> None:
    client.set("k", "v", px=1)
    deadline = time.monotonic() + 30
    while client.exists("k"):
        assert time.monotonic() < deadline
    assert client.get("k") is None
    assert client.type("k") == b"none"


def test_keys(client: redis.Redis) -> None:
    client.set("from", "v", ex=100)
    assert client.rename("from", "to") is True
    assert client.ttl("to") > 0
    assert client.copy("to", "twin") is True
    assert client.renamenx("to", "twin") is False
    assert client.randomkey() in (b"to", b"twin")
    assert sorted(client.keys("t*")) == [b"to", b"twin"]
    assert client.touch("to", "nope") == 1
    assert client.unlink("to", "twin") == 2
    assert client.dbsize() == 0
    with pytest.raises(ResponseError, match="no such key"):
        client.rename("missing", "other")


def test_databases(client: redis.Redis, store) -> None:
    client.set("k", "zero")
    with redis.Redis(port=store.port, db=9) as nine:
        assert nine.get("k") is None
        nine.set("other", "nine")
        assert client.move("k", 9) is True
        assert nine.get("k") == b"zero"
        client.swapdb(0, 9)
        assert client.dbsize() == 2
        assert nine.dbsize() == 0
        client.swapdb(0, 9)
        nine.flushdb()
    with redis.Redis(port=store.port, db=16) as outside, pytest.raises(ResponseError):
        outside.ping()


def test_hashes(client: redis.Redis) -> None:
    assert client.hset("h", mapping={"a": 1, "b": "two"}) == 2
    assert client.hset("h", "a", "one") == 0
    assert client.hgetall("h") == {b"a": b"one", b"b": b"two"}
    assert client.hmget("h", "b", "missing") == [b"two", None]
    assert client.hincrby("h", "n", 3) == 3
    assert client.hincrbyfloat("h", "f", 0.25) == 0.25
    assert client.hsetnx("h", "a", "x") == 0
    assert client.hstrlen("h", "b") == 3
    assert client.hexists("h", "b") is True
    assert sorted(client.hkeys("h")) == [b"a", b"b", b"f", b"n"]
    assert len(client.hvals("h")) == client.hlen("h") == 4
    assert client.hrandfield("h") in (b"a", b"b", b"f", b"n")
    assert client.hdel("h", "a", "b", "f", "n") == 4
    assert client.exists("h") == 0


def test_a_large_hash_scans_completely(client: redis.Redis) -> None:
    wanted = {f"field-{i}".encode(): os.urandom(20) for i in range(5000)}
    client.hset("h", mapping=wanted)
    assert dict(client.hscan_iter("h", count=100)) == wanted
    assert client.hlen("h") == 5000


def test_field_expiry(client: redis.Redis, feature, left) -> None:
    feature("HPEXPIRE")
    client.hset("h", mapping={"a": 1, "b": 2})
    assert client.hexpire("h", 100, "a", "missing") == [1, -2]
    told, *others = client.httl("h", "a", "b", "missing")
    assert left(100, told)
    assert others == [-1, -2]
    assert client.hpersist("h", "a", "b") == [1, -1]
    assert client.hpexpire("h", 1, "a") == [1]
    deadline = time.monotonic() + 30
    while client.hexists("h", "a"):
        assert time.monotonic() < deadline
    assert client.hgetall("h") == {b"b": b"2"}
    at = int(time.time()) + 500
    assert client.hexpireat("h", at, "b") == [1]
    assert client.hexpiretime("h", "b") == [at]


def test_field_expiry_while_reading_and_writing(client: redis.Redis, feature, left) -> None:
    feature("HSETEX")
    assert client.hsetex("h", mapping={"a": 1, "b": 2}, ex=100) == 1
    assert left(100, client.httl("h", "a")[0])
    assert client.hgetex("h", "a", persist=True) == [b"1"]
    assert client.httl("h", "a") == [-1]
    assert client.hgetdel("h", "a", "missing") == [b"1", None]
    assert client.hkeys("h") == [b"b"]


def test_scan_iter_finds_every_key(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for i in range(3000):
            pipe.set(f"session:{i}", i)
        pipe.hset("other", "a", 1)
        pipe.execute()
    found = list(client.scan_iter("session:*", count=50))
    assert len(set(found)) == 3000
    assert list(client.scan_iter(_type="hash")) == [b"other"]


def test_pipeline_keeps_order_and_reports_errors_in_place(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        pipe.set("k", "text").incr("k").get("k")
        done, error, value = pipe.execute(raise_on_error=False)
    assert done is True
    assert isinstance(error, ResponseError)
    assert value == b"text"


def test_pipeline_of_ten_thousand(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for i in range(10_000):
            pipe.set(f"k{i}", i)
        assert all(pipe.execute())
    assert client.dbsize() == 10_000


def test_transaction(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipe:
        assert pipe.set("a", 1).incr("a").get("a").execute() == [True, 2, b"2"]


def test_watch_notices_another_writer(client: redis.Redis, store) -> None:
    client.set("k", 1)
    with redis.Redis(port=store.port) as other, client.pipeline() as pipe:
        pipe.watch("k")
        other.set("k", 2)
        pipe.multi()
        pipe.set("k", 3)
        with pytest.raises(WatchError):
            pipe.execute()
    assert client.get("k") == b"2"


def test_watch_with_retry_loses_no_update(client: redis.Redis, store) -> None:
    client.set("n", 0)

    def add_fifty() -> None:
        with redis.Redis(port=store.port) as mine:
            for _ in range(50):
                mine.transaction(lambda pipe: pipe.multi() or pipe.incr("n"), "n")

    threads = [threading.Thread(target=add_fifty) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("n") == b"200"


def test_errors_have_the_words_clients_look_for(client: redis.Redis) -> None:
    client.hset("h", "a", 1)
    client.set("text", "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        client.get("h")
    with pytest.raises(ResponseError, match="not an integer or out of range"):
        client.incr("text")
    with pytest.raises(ResponseError, match="unknown command"):
        client.execute_command("NONSENSE")
    with pytest.raises(ResponseError, match="wrong number of arguments"):
        client.execute_command("GET")
    with pytest.raises(ResponseError, match="syntax error"):
        client.execute_command("SET", "k", "v", "WHAT")
    with pytest.raises(ResponseError, match="invalid expire time"):
        client.set("k", "v", ex=-1)
    with pytest.raises(DataError):
        client.set("k", {"not": "bytes"})


def test_a_value_of_ten_megabytes(client: redis.Redis) -> None:
    value = os.urandom(TEN_MEGABYTES)
    client.set("big", value)
    assert client.strlen("big") == TEN_MEGABYTES
    assert client.get("big") == value
    assert client.getrange("big", 5_000_000, 5_000_009) == value[5_000_000:5_000_010]
    client.hset("h", "big", value)
    assert client.hget("h", "big") == value


def test_keys_and_values_are_bytes(client: redis.Redis) -> None:
    every_byte = bytes(range(256))
    for key in (every_byte, b"\0", b"\r\n", b"", b"k" * 15_000):
        client.set(key, every_byte * 3)
        assert client.get(key) == every_byte * 3
        client.hset(b"h:" + key, mapping={every_byte: key})
        assert client.hgetall(b"h:" + key) == {every_byte: key}
    assert client.dbsize() == 10


def test_keys_that_are_too_long_are_refused(client: redis.Redis, store) -> None:
    """Redis takes them. Ours says so, and the connection stays in step."""
    if not store.ours:
        assert client.set(b"k" * 60_000, 1) is True
        return
    with pytest.raises(redis.exceptions.ResponseError, match="a key may have 16000 bytes at most"):
        client.set(b"k" * 16_001, 1)
    assert client.set(b"k" * 16_000, 1) is True
    assert client.dbsize() == 1


def test_decoded_responses(store) -> None:
    with redis.Redis(port=store.port, decode_responses=True, protocol=3) as client:
        client.hset("h", mapping={"Grüße": "日本"})
        assert client.hgetall("h") == {"Grüße": "日本"}


@pytest.mark.parametrize("protocol", [2, 3])
def test_unix_socket(store, protocol: int) -> None:
    path = store.unixsocket
    with redis.Redis(unix_socket_path=path, protocol=protocol) as client:
        assert client.ping() is True
        client.set("k", "through the socket")
        assert client.get("k") == b"through the socket"


def test_a_pool_shared_by_threads(store) -> None:
    pool = redis.BlockingConnectionPool(port=store.port, max_connections=8, timeout=20)
    failures: list[str] = []

    def work(name: int) -> None:
        with redis.Redis(connection_pool=pool) as client:
            for i in range(100):
                client.set(f"{name}:{i}", f"{name}/{i}")
                if client.get(f"{name}:{i}") != f"{name}/{i}".encode():
                    failures.append(f"{name}:{i}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.disconnect()
    assert failures == []


def test_a_killed_connection_comes_back(client: redis.Redis, store) -> None:
    client.client_setname("victim")
    ident = client.client_id()
    with redis.Redis(port=store.port) as killer:
        assert killer.client_kill_filter(_id=ident) == 1
    assert client.ping() is True
    assert client.client_id() != ident


def test_a_limit_of_idleness_is_for_those_who_are_idle_already(store) -> None:
    quiet = socket.create_connection((store.host, store.port), timeout=60)
    with quiet, redis.Redis(host=store.host, port=store.port) as other:
        quiet.sendall(b"PING\r\n")
        assert quiet.recv(100) == b"+PONG\r\n"
        other.config_set("timeout", 1)
        try:
            assert quiet.recv(100) == b""
        finally:
            other.config_set("timeout", 0)


def test_server_commands_that_clients_read(client: redis.Redis) -> None:
    info = client.info()
    assert int(info["redis_version"].split(".")[0]) >= 7
    for name in ("used_memory", "connected_clients", "uptime_in_seconds", "process_id"):
        assert isinstance(info[name], int), name
    client.set("k", "v" * 100)
    assert client.info("keyspace")["db0"]["keys"] == 1
    assert client.memory_usage("k") >= 100
    assert client.object("encoding", "k") == b"raw"
    assert client.config_get("maxmemory*")["maxmemory"].isdigit()
    assert "get" in client.command()
    assert client.command_count() > 80
    assert client.time()[0] > 1_700_000_000
    listed = client.client_list()
    assert any(int(row["id"]) == client.client_id() for row in listed)
    assert client.echo("hello") == b"hello"


def test_commands_are_counted(client: redis.Redis) -> None:
    client.config_resetstat()
    for _ in range(40):
        client.set("k", "v")
    with pytest.raises(ResponseError):
        client.hget("k", "f")
    with pytest.raises(ResponseError):
        client.execute_command("GET")
    client.client_id()
    commands = client.info("commandstats")
    assert commands["cmdstat_set"]["calls"] == 40
    assert commands["cmdstat_set"]["usec"] >= 0
    assert commands["cmdstat_hget"]["failed_calls"] == 1
    assert commands["cmdstat_get"]["calls"] == 0
    assert commands["cmdstat_get"]["rejected_calls"] == 1
    assert "cmdstat_client|id" in commands
    latencies = client.info("latencystats")
    assert set(latencies["latency_percentiles_usec_set"]) == {"p50", "p99", "p99.9"}
    assert client.info("errorstats")["errorstat_WRONGTYPE"]["count"] == 1
    histogram = client.execute_command("LATENCY HISTOGRAM", "set")
    assert b"calls" in str(histogram).encode()
    client.config_resetstat()
    assert "cmdstat_set" not in client.info("commandstats")


def test_scripts_are_refused_with_an_error_clients_understand(client: redis.Redis, store) -> None:
    """Scripting comes later; until then EVALSHA must be an error reply, not a hang."""
    with pytest.raises((NoScriptError, ResponseError)):
        client.evalsha("0" * 40, 0)
    assert client.ping() is True
