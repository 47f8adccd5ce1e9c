"""Engines for the contract tests; see stores.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stores import STORES, Bench


@pytest.fixture(params=[f"{name}-{face}" for name in STORES for face in ("sync", "async")])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Each store, with its synchronous and its asynchronous engine."""
    name, _, face = request.param.rpartition("-")
    with STORES[name](face) as bench:
        yield bench
