"""The stores of this test run behind proxies that count, by name: `counted(name, world)`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleets import ClusterFleet, RedisServer, SentinelFleet
from proxy import Meta, Proxy, counting
from sessile import redis_scripts
from sessile.redis_url import Settings
from sessile.urls import open_engine
from stores import World, end_embedded

OPTIONS = "timeout=20&pool_wait=20"


@dataclass
class Counted:
    """A store, and all ways to it."""

    url: str
    proxies: list[Proxy]

    def take(self) -> list[str]:
        """The commands since the last call."""
        return [name for proxy in self.proxies for name in proxy.take()]


@contextmanager
def counted(name: str, world: World) -> Iterator[Counted]:
    """A store of STORES by its name."""
    with ExitStack() as stack:
        yield STORES[name](world, stack)


def redis(world: World, stack: ExitStack) -> Counted:
    know_scripts(world.redis())
    proxy = stack.enter_context(counting(world.redis().port))
    return Counted(f"redis://127.0.0.1:{proxy.port}?{OPTIONS}", [proxy])


def redis_noscript(world: World, stack: ExitStack) -> Counted:
    """The same for a user without the right to run scripts."""
    proxy = stack.enter_context(counting(world.redis().port))
    return Counted(f"redis://noscript:pw@127.0.0.1:{proxy.port}?{OPTIONS}", [proxy])


def sessile(world: World, stack: ExitStack) -> Counted:
    proxy = stack.enter_context(counting(world.sessile().port))
    return Counted(f"sessile://127.0.0.1:{proxy.port}?{OPTIONS}", [proxy])


def unix(world: World, stack: ExitStack) -> Counted:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    proxy = stack.enter_context(counting(str(world.sessile().unixsocket), path=f"{folder}/sock"))
    return Counted(f"unix://{folder}/sock?database=4&{OPTIONS}", [proxy])


def embedded(world: World, stack: ExitStack) -> Counted:
    """A server that started by itself, whose socket the proxy has taken the place of."""
    program = world.sessile().command
    stack.enter_context(pytest.MonkeyPatch.context()).setenv("SESSILE_SERVER_BIN", str(program))
    home = Path(tempfile.mkdtemp())
    stack.callback(shutil.rmtree, home)
    engine = open_engine(f"embedded:{home}")
    engine.ping()
    engine.close()
    stack.callback(end_embedded, home)
    (home / "sock").rename(home / "behind")
    proxy = stack.enter_context(counting(str(home / "behind"), path=str(home / "sock")))
    return Counted(f"embedded:{home}?{OPTIONS}", [proxy])


def memcached(world: World, stack: ExitStack) -> Counted:
    port = int(world.memcached()[0].rpartition(":")[2])
    proxy = stack.enter_context(counting(port, parser=Meta))
    return Counted(f"memcached://127.0.0.1:{proxy.port}?{OPTIONS}", [proxy])


def sentinel(world: World, stack: ExitStack) -> Counted:
    fleet = world.fleet(SentinelFleet)
    assert isinstance(fleet, SentinelFleet)
    know_scripts(fleet.primary)
    proxies = between(stack, [node.port for node in (fleet.primary, *fleet.replicas)])
    return Counted(f"{fleet.url}?{OPTIONS}", proxies)


def cluster(world: World, stack: ExitStack) -> Counted:
    fleet = world.fleet(ClusterFleet)
    assert isinstance(fleet, ClusterFleet)
    know_scripts(*fleet.nodes)
    proxies = between(stack, [node.port for node in fleet.nodes])
    return Counted(f"{fleet.url}?{OPTIONS}", proxies)


def know_scripts(*nodes: RedisServer) -> None:
    """Sends the scripts ahead, of which a server wants the text once."""
    for node in nodes:
        for one in vars(redis_scripts).values():
            if isinstance(one, redis_scripts.Script):
                node.command("SCRIPT", "LOAD", one.text)


def between(stack: ExitStack, ports: list[int]) -> list[Proxy]:
    """Proxies in front of nodes that name each other: who connects to one of them is led there."""
    proxies = {port: stack.enter_context(counting(port)) for port in ports}
    arguments = Settings.arguments

    def led(self: Settings, address: tuple[str, int], role: str) -> dict[str, object]:
        host, port = address
        port = proxies[port].port if port in proxies else port
        return arguments(self, (host, port), role)

    stack.enter_context(pytest.MonkeyPatch.context()).setattr(Settings, "arguments", led)
    return list(proxies.values())


STORES: dict[str, Callable[[World, ExitStack], Counted]] = {
    one.__name__: one
    for one in (
        redis,
        redis_noscript,
        sessile,
        unix,
        embedded,
        memcached,
        sentinel,
        cluster,
    )
}
