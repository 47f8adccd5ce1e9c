"""Engines for the contract tests; see stores.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stores import BENCHES, STORES, Bench, World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The servers of this test run."""
    world = World()
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, world: World) -> Iterator[Bench]:
    """Each store, with its synchronous and its asynchronous engine."""
    name, _, face = request.param.rpartition("-")
    with STORES[name](face, world) as bench:
        yield bench
