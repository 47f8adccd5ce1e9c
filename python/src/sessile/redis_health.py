"""What is to be said of a Redis store: whether each of its primaries is fit to keep sessions.

`examined` asks the very nodes that the engine would ask, at the time of asking: one server, the
primary that sentinels name, or all primaries of a cluster. What always holds: nothing is written;
a node that doesn't answer, or isn't allowed to tell, is a finding and never an exception; findings
name hosts and ports, and no user and no password.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sessile.redis_ask import Address, Refused
from sessile.redis_cluster import SLOTS
from sessile.redis_conduct import Exchange, Failure, Steps
from sessile.redis_plan import ServerClock
from sessile.redis_pool import Pools
from sessile.redis_url import Settings, settings
from sessile.urls import parse

__all__ = ["Finding", "examined", "policies"]

LOOK = (
    ("INFO", "memory"),
    ("INFO", "replication"),
    ("EVAL", "return 1", 0),
    ("CONFIG", "GET", "cluster-require-full-coverage"),
)


class Finding(NamedTuple):
    """One thing that was looked at."""

    good: bool
    text: str


@dataclass
class Looked:
    """What a primary said."""

    address: Address
    trouble: str = ""
    """Why it said nothing."""
    policy: str = ""
    role: str = ""
    replicas: int = 0
    scripts: bool = True
    whole: bool | None = None
    """Whether a cluster stops as a whole; `None` if it doesn't tell."""


@dataclass
class Map:
    """Which nodes there are."""

    primaries: list[Address] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def examined(url: str) -> list[Finding]:
    """The findings for a `redis://` URL of any kind. Raises ConfigurationError for another one."""
    given = settings(parse(url))
    there, nodes = carried_out(given)
    return [*there.findings, *(found for node in nodes for found in judged(given, node, nodes))]


def policies(url: str) -> set[str]:
    """The `maxmemory-policy` of each primary that tells."""
    _, nodes = carried_out(settings(parse(url)))
    return {node.policy for node in nodes if node.policy}


def carried_out(given: Settings) -> tuple[Map, list[Looked]]:
    pools = Pools(given, ServerClock())
    try:
        return pools.run(looking(given))
    finally:
        pools.close()


def looking(given: Settings) -> Steps[tuple[Map, list[Looked]]]:
    """Finds the primaries and asks each of them."""
    there = Map(list(given.nodes))
    if given.kind == "cluster":
        there = yield from mapped(given.nodes)
    elif given.kind == "sentinel":
        there = yield from named(given.nodes, given.group)
    nodes = []
    for address in there.primaries:
        nodes.append((yield from asked(address)))
    return there, nodes


def mapped(seeds: Sequence[Address]) -> Steps[Map]:
    """The primaries of a cluster, and whether they serve everything."""
    there, silent = Map(), []
    ranges: list[Any] | None = None
    teller: Address | None = None
    for seed in seeds:
        outcome = yield Exchange(seed, (("CLUSTER", "SLOTS"),))
        if isinstance(outcome, Failure):
            silent.append(shown(seed))
        elif isinstance(outcome[0], Refused):
            text = outcome[0].text or outcome[0].code
            there.findings.append(Finding(False, f"{shown(seed)} is no node of a cluster: {text}"))
        elif ranges is None:
            ranges, teller = outcome[0], seed
    if silent:
        # The others tell of all nodes, but not to a process that starts while those are away.
        text = f"nodes of SESSILE_URL that don't answer: {', '.join(silent)}"
        there.findings.append(Finding(ranges is not None, text))
    served = 0
    for first, last, primary, *_ in ranges or []:
        served += last - first + 1
        host = primary[0].decode() if primary[0] else (teller or seeds[0])[0]
        if (host, int(primary[1])) not in there.primaries:
            there.primaries.append((host, int(primary[1])))
    count = len(there.primaries)
    if served == SLOTS:
        text = f"cluster: {count} primaries serve all {SLOTS} slots"
    else:
        text = f"cluster: {SLOTS - served} of {SLOTS} slots are served by nobody"
    there.findings.append(Finding(served == SLOTS, text))
    return there


def named(sentinels: Sequence[Address], group: str) -> Steps[Map]:
    """The primary that sentinels name, and whether they are enough to name another one."""
    there, silent, votes = Map(), [], []
    quorum: list[str] = []
    for sentinel in sentinels:
        commands = (
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", group),
            ("SENTINEL", "CKQUORUM", group),
        )
        outcome = yield Exchange(sentinel, commands, "sentinel")
        if isinstance(outcome, Failure):
            silent.append(shown(sentinel))
            continue
        if not isinstance(outcome[0], list):
            text = f"sentinel {shown(sentinel)} doesn't know the group {group!r}"
            there.findings.append(Finding(False, text))
            continue
        votes.append((outcome[0][0].decode(), int(outcome[0][1])))
        if isinstance(outcome[1], Refused):
            quorum.append(f"{shown(sentinel)}: {outcome[1].text or outcome[1].code}")
    if silent:
        text = f"sentinels that don't answer: {', '.join(silent)}"
        there.findings.append(Finding(len(silent) * 2 < len(sentinels), text))
    there.primaries = list(dict.fromkeys(votes))
    if len(there.primaries) > 1:
        text = f"sentinels name different primaries: {', '.join(map(shown, there.primaries))}"
        there.findings.append(Finding(False, text))
    elif votes:
        text = f"sentinels: {len(votes)} of {len(sentinels)} name {shown(votes[0])}"
        there.findings.append(Finding(True, text))
    for text in quorum:
        there.findings.append(Finding(False, f"a fail-over isn't possible: sentinel {text}"))
    return there


def asked(address: Address) -> Steps[Looked]:
    """What one primary says of itself."""
    outcome = yield Exchange(address, LOOK)
    if isinstance(outcome, Failure):
        return Looked(address, trouble=outcome.reason)
    memory, replication, script, coverage = outcome
    links = lines(replication)
    return Looked(
        address,
        policy=lines(memory).get("maxmemory_policy", ""),
        role=links.get("role", ""),
        replicas=int(links.get("connected_slaves", "0")),
        scripts=not (isinstance(script, Refused) and script.forbids_scripts),
        whole=coverage[1] == b"yes" if isinstance(coverage, list) and coverage else None,
    )


def judged(given: Settings, node: Looked, all: Sequence[Looked]) -> list[Finding]:
    """What to say of one primary. Settings that all have alike are said once, for the first."""
    name, found = shown(node.address), []
    if node.trouble:
        return [Finding(False, f"{name} doesn't answer: {node.trouble}")]
    if node.role == "slave":
        found.append(Finding(False, f"{name} is a replica: sessions need the primary"))
    wanted = given.shape.replicas
    if wanted > node.replicas:
        text = f"{name} has {node.replicas} replicas, and wait={wanted} needs more: "
        found.append(Finding(False, text + "sign-outs and new ids will fail"))
    if not node.scripts:
        way = "a cluster needs them" if given.kind == "cluster" else "WATCH and MULTI are used"
        found.append(Finding(given.kind != "cluster", f"{name} runs no scripts for us: {way}"))
    alike = len({(one.policy, one.whole) for one in all if not one.trouble}) == 1
    if alike and node is not next(one for one in all if not one.trouble):
        return found
    where = "" if alike else f"{name}: "
    if node.policy:
        text = f"{where}eviction: {node.policy}"
        found.append(Finding(not node.policy.startswith("allkeys-"), text))
    if given.kind == "cluster" and node.whole:
        text = f"{where}cluster-require-full-coverage is yes: "
        found.append(Finding(False, text + "all shards stop when one has nobody to serve it"))
    return found


def lines(info: Any) -> dict[str, str]:
    """What INFO says; empty if it isn't allowed."""
    if not isinstance(info, bytes):
        return {}
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


def shown(address: Address) -> str:
    """A node for a message."""
    return f"{address[0]}:{address[1]}" if address[1] else address[0]
