"""One keyspace, two protocols: what redis-py writes pymemcache reads, and the other way round."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pymemcache
import pytest
import redis


@pytest.fixture
def resp(both) -> Iterator[redis.Redis]:
    with redis.Redis(port=both.port) as client:
        yield client


class Flags:
    """Leaves values alone and hands the flags through."""

    def serialize(self, key, value):
        return value

    def deserialize(self, key, value, flags):
        return value, flags


@pytest.fixture
def text(both) -> Iterator[pymemcache.Client]:
    address = (both.host, both.memcached_port)
    client = pymemcache.Client(address, default_noreply=False, timeout=20)
    yield client
    client.close()


def flagged(both, key: str) -> tuple[bytes, int]:
    """Value and flags as memcached reports them."""
    client = pymemcache.Client((both.host, both.memcached_port), serde=Flags(), timeout=20)
    found = client.get(key)
    client.close()
    return found


def set_with_flags(both, key: str, value: bytes, flags: int, expire: int = 0) -> None:
    """A memcached `set` with flags."""
    client = pymemcache.Client((both.host, both.memcached_port), default_noreply=False, timeout=20)
    assert client.set(key, value, expire=expire, flags=flags) is True
    client.close()


def test_written_by_one_read_by_the_other(resp, text) -> None:
    resp.set("a", b"\0from resp\r\n")
    assert text.get("a") == b"\0from resp\r\n"
    text.set("b", b"\0from memcached\r\n")
    assert resp.get("b") == b"\0from memcached\r\n"
    assert resp.dbsize() == 2
    assert text.delete("a") is True
    assert resp.exists("a") == 0
    resp.delete("b")
    assert text.get("b") is None


def test_numbers_are_shared(resp, text) -> None:
    resp.set("n", 41)
    assert text.incr("n", 1) == 42
    assert resp.incrby("n", 8) == 50
    assert text.decr("n", 60) == 0
    assert resp.get("n").strip() == b"0"


def test_deadlines_are_shared(resp, text, left) -> None:
    text.set("k", b"v", expire=100)
    assert left(100, resp.ttl("k"))
    resp.expire("k", 500)
    text.append("k", b"w")
    assert left(500, resp.ttl("k"))
    text.touch("k", 50)
    assert left(50, resp.ttl("k"))
    text.touch("k", 0)
    assert resp.ttl("k") == -1
    resp.pexpire("k", 1)
    while text.get("k") is not None:
        pass
    assert resp.exists("k") == 0


def test_flags_survive_what_does_not_replace_the_value(both, resp, text) -> None:
    set_with_flags(both, "k", b"v", 42, expire=100)
    resp.append("k", "w")
    resp.expire("k", 300)
    resp.rename("k", "moved")
    assert flagged(both, "moved") == (b"vw", 42)
    resp.set("moved", "plain")
    assert flagged(both, "moved") == (b"plain", 0)


def test_a_cas_token_breaks_on_a_write_through_resp(resp, text) -> None:
    text.set("k", b"1")
    _, token = text.gets("k")
    assert text.cas("k", b"2", token) is True
    _, token = text.gets("k")
    resp.set("k", b"3")
    assert text.cas("k", b"4", token) is False
    assert resp.get("k") == b"3"


def test_a_memcached_write_breaks_a_watch(resp, text) -> None:
    resp.set("k", 1)
    with resp.pipeline() as pipe:
        pipe.watch("k")
        text.set("k", b"2")
        pipe.multi()
        pipe.set("k", 3)
        with pytest.raises(redis.WatchError):
            pipe.execute()


def test_a_hash_is_never_handed_out_as_a_string(resp, text) -> None:
    """What memcached answers is in the docs; it must not be a value, nor break the stream."""
    resp.hset("h", "a", 1)
    with contextlib.suppress(pymemcache.exceptions.MemcacheError):
        assert text.get("h") is None
    text.close()
    assert text.get("absent") is None
    assert resp.hget("h", "a") == b"1"


def test_other_databases_are_out_of_reach(both, resp, text) -> None:
    with redis.Redis(port=both.port, db=1) as one:
        one.set("k", "in one")
        assert text.get("k") is None
        text.flush_all()
        assert one.get("k") == b"in one"


def test_flushes_empty_both(resp, text) -> None:
    resp.set("a", 1)
    text.flush_all()
    assert resp.exists("a") == 0
    text.set("b", b"1")
    resp.flushall()
    assert text.get("b") is None


def test_both_sockets_lead_to_the_same_keys(both) -> None:
    with redis.Redis(unix_socket_path=both.unixsocket) as resp:
        resp.set("k", "v")
        client = pymemcache.Client(both.memcached_unixsocket, default_noreply=False, timeout=20)
        assert client.get("k") == b"v"
        client.set("k", b"w")
        client.close()
        assert resp.get("k") == b"w"


@pytest.mark.parametrize("line", [b"get k", b"gets k", b"mg k v"])
def test_reads_of_memcached_slide_a_string_up_to_its_last_moment(both, resp, line) -> None:
    resp.set("k", "v")
    assert resp.execute_command("SLIDE", "k", 1000, "MAX", 2000) == 1
    ends = resp.pexpiretime("k")
    later(resp)
    assert resp.exists("k") and resp.pexpiretime("k") == ends, "neither of these is a use"
    assert b"v" in asked(both, line)
    slid = resp.pexpiretime("k")
    assert slid > ends
    assert resp.execute_command("SLIDE", "k", 1000, "MAX", 1000) == 1
    ends = resp.pexpiretime("k")
    later(resp)
    assert b"v" in asked(both, line)
    assert resp.pexpiretime("k") == ends


def later(resp) -> None:
    """Waits until the server's clock says something else, and for some more."""
    begun = resp.time()
    while seconds(resp.time()) - seconds(begun) < 0.02:
        pass


def seconds(time: tuple[int, int]) -> float:
    return time[0] + time[1] / 1e6


def asked(both, line: bytes) -> bytes:
    """What memcached's port answers a read of one key."""
    with socket.create_connection((both.host, both.memcached_port), 20) as wire:
        wire.sendall(line + b"\r\nmn\r\n" if line.startswith(b"m") else line + b"\r\n")
        answer = b""
        while not answer.endswith((b"END\r\n", b"MN\r\n")):
            answer += wire.recv(4096)
        return answer


def test_restore_over_a_session_ends_it(resp) -> None:
    resp.hset("hash", "f", "restored")
    resp.execute_command("SESSION.CREATE", "s", "USER", "ann", "SET", 1, "f", "v")
    assert len(resp.execute_command("SESSION.LIST", "ann")) == 1
    with pytest.raises(redis.ResponseError, match="BUSYKEY"):
        resp.restore("s", 0, resp.dump("hash"))
    assert len(resp.execute_command("SESSION.LIST", "ann")) == 1
    resp.restore("s", 0, resp.dump("hash"), replace=True)
    assert resp.execute_command("SESSION.LIST", "ann") == []
    assert resp.hgetall("s") == {b"f": b"restored"}
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        resp.execute_command("SESSION.LOAD", "s")
