"""pymemcache and pylibmc (text protocol): every operation that they offer."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator

import pylibmc
import pymemcache
import pytest
from pymemcache import serde
from pymemcache.exceptions import MemcacheIllegalInputError, MemcacheServerError


@pytest.fixture
def py(store) -> Iterator[pymemcache.Client]:
    """pymemcache that waits for every reply."""
    client = pymemcache.Client(
        (store.host, store.memcached_port), default_noreply=False, timeout=20, connect_timeout=20
    )
    yield client
    client.close()


@pytest.fixture
def lib(store) -> Iterator[pylibmc.Client]:
    """pylibmc in its text mode, with gets and cas allowed."""
    client = pylibmc.Client([store.memcached], binary=False, behaviors={"cas": True})
    yield client
    client.disconnect_all()


def test_pymemcache_storage(py: pymemcache.Client) -> None:
    assert py.set("k", b"v") is True
    assert py.get("k") == b"v"
    assert py.add("k", b"w") is False
    assert py.add("new", b"w") is True
    assert py.replace("absent", b"w") is False
    assert py.replace("k", b"w") is True
    assert py.append("k", b">") is True
    assert py.prepend("k", b"<") is True
    assert py.get("k") == b"<w>"
    assert py.append("absent", b">") is False
    assert py.get("absent") is None
    assert py.get("absent", default=b"d") == b"d"
    assert py.delete("k") is True
    assert py.delete("k") is False


def test_pymemcache_cas(py: pymemcache.Client) -> None:
    py.set("k", b"1")
    value, token = py.gets("k")
    assert value == b"1"
    assert py.cas("k", b"2", token) is True
    assert py.cas("k", b"3", token) is False
    assert py.cas("absent", b"3", token) is None
    assert py.get("k") == b"2"
    py.set("other", b"x")
    many = py.gets_many(["k", "other", "absent"])
    assert {key: row[0] for key, row in many.items()} == {"k": b"2", "other": b"x"}


def test_pymemcache_arithmetic(py: pymemcache.Client) -> None:
    py.set("n", b"10")
    assert py.incr("n", 5) == 15
    assert py.decr("n", 20) == 0
    assert py.incr("absent", 1) is None
    py.set("top", str(2**64 - 1).encode())
    assert py.incr("top", 1) == 0
    py.set("text", b"abc")
    with pytest.raises(pymemcache.exceptions.MemcacheClientError, match="non-numeric"):
        py.incr("text", 1)


def test_pymemcache_time(py: pymemcache.Client) -> None:
    py.set("k", b"v", expire=100)
    assert py.touch("k", 200) is True
    assert py.touch("absent", 200) is False
    assert py.raw_command("gat 300 k", b"END\r\n") == b"VALUE k 0 1\r\nv\r\n"
    assert re.match(rb"VALUE k 0 1 \d+\r\nv\r\n", py.raw_command("gats 300 k", b"END\r\n"))
    py.set("past", b"v", expire=-1)
    assert py.get("past") is None
    py.set("absolute", b"v", expire=int(time.time()) + 1000)
    assert py.get("absolute") == b"v"
    py.set("long-ago", b"v", expire=60 * 60 * 24 * 30 + 1)
    assert py.get("long-ago") is None


def test_pymemcache_many(py: pymemcache.Client) -> None:
    wanted = {f"key{i}": os.urandom(i % 300) for i in range(500)}
    assert py.set_many(wanted) == []
    assert py.get_many([*wanted, "absent"]) == wanted
    assert py.delete_many(list(wanted)) is True
    assert py.get_many(list(wanted)) == {}


def test_pymemcache_noreply(store) -> None:
    client = pymemcache.Client((store.host, store.memcached_port), default_noreply=True, timeout=20)
    for i in range(200):
        client.set(f"k{i}", str(i).encode())
    client.set_many({"a": b"1", "b": b"2"})
    client.append("a", b"0")
    client.incr("a", 1, noreply=True)
    client.touch("b", 500, noreply=True)
    client.delete("k0")
    client.delete_many(["k1", "k2"])
    assert client.get("a") == b"11"
    assert client.get_many(["k0", "k1", "k2", "k3"]) == {"k3": b"3"}
    client.flush_all(noreply=True)
    assert client.get("a") is None
    client.close()


def test_pymemcache_serializers_keep_flags(store) -> None:
    values = {"text": "Grüße", "int": 7, "bytes": b"\0\r\n", "dict": {"cart": [1, 2]}}
    compressed = serde.CompressedSerde(min_compress_len=10)
    for chosen in (serde.pickle_serde, compressed):
        client = pymemcache.Client((store.host, store.memcached_port), serde=chosen, timeout=20)
        for key, value in values.items():
            client.set(key, value, noreply=False)
        assert client.get_many(list(values)) == values
        client.close()


def test_pymemcache_own_flags(store) -> None:
    class Tagged:
        def serialize(self, key, value):
            return json.dumps(value).encode(), 0xFFFF_FFFF

        def deserialize(self, key, value, flags):
            return json.loads(value), flags

    client = pymemcache.Client((store.host, store.memcached_port), serde=Tagged(), timeout=20)
    client.set("k", [1, 2], noreply=False)
    assert client.get("k") == ([1, 2], 0xFFFF_FFFF)
    client.close()


def test_pymemcache_limits(py: pymemcache.Client) -> None:
    py.set("k" * 250, b"v")
    assert py.get("k" * 250) == b"v"
    with pytest.raises(MemcacheIllegalInputError):
        py.get("k" * 251)
    with pytest.raises(MemcacheServerError, match="object too large for cache"):
        py.set("big", b"x" * (2 * 1024 * 1024))
    assert py.get("k" * 250) == b"v"
    almost = os.urandom(1000 * 1000)
    assert py.set("almost", almost) is True
    assert py.get("almost") == almost


def test_pymemcache_server(py: pymemcache.Client) -> None:
    py.set("k", b"v")
    py.get("k")
    py.get("absent")
    stats = py.stats()
    for name in (b"pid", b"uptime", b"curr_items", b"cmd_get", b"get_hits", b"bytes"):
        assert int(stats[name]) >= 0, name
    assert int(stats[b"curr_items"]) >= 1
    assert int(stats[b"limit_maxbytes"]) >= 0
    assert py.stats("settings")
    assert py.version()
    assert py.cache_memlimit(1024) is True
    assert py.flush_all() is True
    assert py.get("k") is None
    assert py.quit() is None


def test_pymemcache_pool_and_hash_client(store) -> None:
    address = (store.host, store.memcached_port)
    pooled = pymemcache.PooledClient(address, max_pool_size=4, timeout=20)
    hashed = pymemcache.HashClient([address], use_pooling=True, timeout=20)
    pooled.set("k", b"v", noreply=False)
    assert hashed.get("k") == b"v"
    assert hashed.set_many({"a": b"1", "b": b"2"}, noreply=False) == []
    assert pooled.get_many(["a", "b"]) == {"a": b"1", "b": b"2"}
    pooled.close()
    hashed.close()


def test_pylibmc_storage(lib: pylibmc.Client) -> None:
    assert lib.set("k", "v") is True
    assert lib.get("k") == "v"
    assert lib.add("k", "w") is False
    assert lib.add("new", "w") is True
    assert lib.replace("absent", "w") is False
    assert lib.replace("k", "w") is True
    assert lib.append("k", ">") is True
    assert lib.prepend("k", "<") is True
    assert lib.get("k") == "<w>"
    assert lib.get("absent") is None
    assert "k" in lib
    assert lib.delete("k") is True
    assert lib.delete("k") is False
    lib["item"] = {"cart": [1, 2]}
    assert lib["item"] == {"cart": [1, 2]}
    del lib["item"]
    with pytest.raises(KeyError):
        lib["item"]


def test_pylibmc_types(lib: pylibmc.Client) -> None:
    for value in (1, 2**40, True, None, b"\0\r\n", "Grüße", 1.5, [1], {"a": (1, 2)}):
        lib.set("k", value)
        assert lib.get("k") == value
    text = "compressible " * 10_000
    assert lib.set("big", text, min_compress_len=100) is True
    assert lib.get("big") == text


def test_pylibmc_cas(lib: pylibmc.Client) -> None:
    lib.set("k", "1")
    value, token = lib.gets("k")
    assert value == "1"
    assert lib.cas("k", "2", token) is True
    assert lib.cas("k", "3", token) is False
    assert lib.get("k") == "2"
    assert lib.gets("absent") == (None, None)


def test_pylibmc_arithmetic_and_time(lib: pylibmc.Client) -> None:
    lib.set("n", 10)
    assert lib.incr("n", 5) == 15
    assert lib.decr("n") == 14
    assert lib.get("n") == 14
    with pytest.raises(pylibmc.NotFound):
        lib.incr("absent")
    assert lib.touch("n", 100) is True
    assert lib.set("timed", "v", time=100) is True
    assert lib.get("timed") == "v"


def test_pylibmc_many(lib: pylibmc.Client) -> None:
    wanted = {f"key{i}": i for i in range(500)}
    assert lib.set_multi(wanted, time=100) == []
    assert lib.get_multi([*wanted, "absent"]) == wanted
    assert lib.set_multi({"a": 1}, key_prefix="p:") == []
    assert lib.get_multi(["a"], key_prefix="p:") == {"a": 1}
    assert lib.add_multi({"a": 1, "fresh": 2}, key_prefix="p:") == ["a"]
    assert lib.delete_multi(list(wanted)) is True
    assert lib.get_multi(list(wanted)) == {}


def test_pylibmc_server(lib: pylibmc.Client) -> None:
    lib.set("k", "v")
    ((_, stats),) = lib.get_stats()
    assert int(stats[b"curr_items"] if b"curr_items" in stats else stats["curr_items"]) >= 1
    assert lib.flush_all() is True
    assert lib.get("k") is None
    lib.set_multi({f"k{i}": b"x" * 1000 for i in range(100)})
    clone = lib.clone()
    assert len(clone.get_multi([f"k{i}" for i in range(100)])) == 100
    clone.disconnect_all()
