"""What the doctor says of Redis: one server, sentinels and a cluster, real ones and told ones.

A told one is a plan whose exchanges a test answers; the one of many servers is `fleet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import override_settings

import django_site  # noqa: F401  (configures Django)
from fleets import QUIET_MS, ClusterFleet, RedisServer, SentinelFleet, wait_until
from sessile.errors import ConfigurationError
from sessile.redis_ask import Refused
from sessile.redis_conduct import Failure
from sessile.redis_health import examined, judged, looking, policies
from sessile.redis_url import settings
from sessile.urls import parse

A, B, C = ("a", 6379), ("b", 6379), ("c", 6379)
MEMORY = b"# Memory\r\nmaxmemory_policy:noeviction\r\n"
PRIMARY = b"role:master\r\nconnected_slaves:1\r\n"
WELL = [MEMORY, PRIMARY, 1, [b"cluster-require-full-coverage", b"no"]]
SLOTS = [[0, 8191, [b"a", 6379], [b"c", 6379]], [8192, 16383, [b"b", 6379]]]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


def told(url: str, answer: Callable[[Any], Any]) -> list[tuple[bool, str]]:
    """The findings if nodes answer so."""
    given = settings(parse(url))
    steps = looking(given)
    step = next(steps)
    try:
        while True:
            step = steps.send(answer(step))
    except StopIteration as done:
        there, nodes = done.value
    found = [*there.findings, *(one for node in nodes for one in judged(given, node, nodes))]
    return [(one.good, one.text) for one in found]


def cluster(**changed: Any) -> Callable[[Any], Any]:
    """Nodes of a cluster of which some answer something else."""

    def answer(step: Any) -> Any:
        other = changed.get(step.address[0])
        if isinstance(other, Failure):
            return other
        if step.commands[0][0] == "CLUSTER":
            return [changed.get("slots", SLOTS)]
        return other or WELL

    return answer


def bad(found: list[tuple[bool, str]]) -> list[str]:
    return [text for good, text in found if not good]


def test_a_cluster_that_is_well() -> None:
    found = told("redis+cluster://a,b", cluster())
    assert found == [
        (True, "cluster: 2 primaries serve all 16384 slots"),
        (True, "eviction: noeviction"),
    ]


def test_what_is_wrong_with_a_cluster() -> None:
    evicting = [MEMORY.replace(b"noeviction", b"allkeys-lru"), *WELL[1:]]
    whole = [*WELL[:3], [b"cluster-require-full-coverage", b"yes"]]
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"slots": SLOTS[:1]}, ["8192 of 16384 slots"]),
        ({"b": Failure("gone")}, ["b:6379 doesn't answer: gone"]),
        ({"b": evicting}, ["b:6379: eviction: allkeys-lru"]),
        ({"a": evicting, "b": evicting}, ["eviction: allkeys-lru"]),
        ({"a": whole, "b": whole}, ["cluster-require-full-coverage is yes"]),
        ({"b": [*WELL[:2], Refused("NOPERM", "no 'eval'"), []]}, ["b:6379 runs no scripts"]),
        ({"b": [MEMORY, b"role:slave\r\n", 1, []]}, ["b:6379 is a replica"]),
    ]
    for changed, texts in cases:
        found = bad(told("redis+cluster://a,c", cluster(**changed)))
        assert len(found) == len(texts), (changed, found)
        assert all(text in one for text, one in zip(texts, found, strict=True)), found


def test_a_cluster_that_nobody_tells_of() -> None:
    found = bad(told("redis+cluster://a,b", lambda step: Failure("gone")))
    assert "a:6379, b:6379" in found[0] and "16384 of 16384" in found[1]
    refusing = told("redis+cluster://a", lambda step: [Refused("ERR", "no cluster support")])
    assert "is no node of a cluster: no cluster support" in bad(refusing)[0]


def test_replicas_that_must_confirm_have_to_be_there() -> None:
    assert not bad(told("redis+cluster://a?wait=1", cluster()))
    (one, two) = bad(told("redis+cluster://a?wait=2", cluster()))
    assert "a:6379 has 1 replicas, and wait=2 needs more" in one and "b:6379" in two


def test_sentinels_that_disagree() -> None:
    def answer(step: Any) -> Any:
        if step.role != "sentinel":
            return WELL
        host = step.address[0]
        if host == "c":
            return Failure("gone")
        named = [b"a" if host == "a" else b"b", b"6379"]
        return [named, Refused("NOQUORUM", "1 usable Sentinels")]

    found = told("redis+sentinel://a,b,c/shop", answer)
    assert (True, "sentinels that don't answer: c:26379") in found
    texts = bad(found)
    assert "different primaries: a:6379, b:6379" in texts[0]
    assert "a fail-over isn't possible: sentinel a:26379: 1 usable" in texts[1]


def test_one_server(server: RedisServer) -> None:
    assert examined(server.url) == [(True, "eviction: noeviction")]
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    assert examined(server.url) == [(False, "eviction: allkeys-lfu")]
    assert policies(server.url) == {"allkeys-lfu"}
    (finding, _) = examined(f"{server.url}?wait=1")
    assert not finding.good and "has 0 replicas, and wait=1" in finding.text
    rules = ("on", ">pw", "~*", "&*", "+@all", "-@scripting", "-info", "-config")
    server.command("ACL", "SETUSER", "little", *rules)
    (finding,) = examined(server.url.replace("//", "//little:pw@"))
    assert finding.good and "WATCH and MULTI" in finding.text
    (finding,) = examined(server.url.replace("//", "//little:wrong@"))
    assert not finding.good and "wrong" not in finding.text.replace("WRONGPASS", "")
    server.kill()
    (finding,) = examined(server.url)
    assert not finding.good and "doesn't answer" in finding.text
    assert policies(server.url) == set()
    with pytest.raises(ConfigurationError):
        examined("redis://a,b")


def doctor() -> str:
    written = StringIO()
    try:
        call_command("sessile", "doctor", stdout=written)
    except CommandError:
        assert "BAD" in written.getvalue()
    else:
        assert "BAD" not in written.getvalue()
    return written.getvalue()


@pytest.mark.fleet
@pytest.mark.timeout(300)
def test_the_doctor_looks_at_a_cluster() -> None:
    fleet = ClusterFleet(QUIET_MS)
    try:
        fleet.start()
        with override_settings(SESSILE_URL=f"{fleet.url}?wait=1"):
            found = doctor()
            assert "BAD" not in found and "3 primaries serve all 16384 slots" in found
            assert "can be made and changed" in found and "can be listed" in found
            fleet.nodes[1].command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            fleet.nodes[0].command("CONFIG", "SET", "cluster-require-full-coverage", "yes")
            found = doctor()
            assert f"BAD  127.0.0.1:{fleet.nodes[1].port}: eviction: allkeys-lru" in found
            assert f"{fleet.nodes[0].port}: cluster-require-full-coverage is yes" in found
            checks = {check.id for check in run_checks(include_deployment_checks=True)}
            assert "sessile.W005" in checks
        with override_settings(SESSILE_URL=f"{fleet.url}?wait=2"):
            assert "has 1 replicas, and wait=2 needs more" in doctor()
        fleet.nodes[2].kill()
        with override_settings(SESSILE_URL=fleet.url):
            assert f"BAD  127.0.0.1:{fleet.nodes[2].port} doesn't answer" in doctor()
    finally:
        fleet.stop()


@pytest.mark.fleet
@pytest.mark.timeout(300)
def test_the_doctor_looks_at_sentinels() -> None:
    fleet = SentinelFleet()
    try:
        fleet.start()
        with override_settings(SESSILE_URL=f"{fleet.url}?wait=1"):
            found = doctor()
            assert "BAD" not in found
            assert f"sentinels: 3 of 3 name 127.0.0.1:{fleet.primary.port}" in found
            for sentinel in fleet.sentinels[:2]:
                sentinel.kill()

            def is_noticed() -> bool:
                found = doctor()
                return "a fail-over isn't possible" in found and "sentinels that don't" in found

            wait_until(is_noticed)
        assert isinstance(fleet.primary.command("PING"), (bool, bytes))
        with redis.Redis(port=fleet.primary.port) as client:
            assert not list(client.scan_iter("sessile:app:*"))
    finally:
        fleet.stop()
