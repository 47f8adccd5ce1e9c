"""Requests that meet at any point of their way lose nothing, and send only what they are about."""

from __future__ import annotations

import os
import random

import pytest

from interleaved import ENGINES, played

ROUNDS = int(os.environ.get("SESSILE_ROUNDS", "60"))
"""Of 41 requests each; 10,000 take ten minutes."""
NEW = random.SystemRandom().randrange(2**31)
KNOWN = {"rules": ["15059/x/0"], "memcached": []}
"""Seeds of rounds that lost something once."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ENGINES)
def test_requests_that_meet_lose_nothing(engine: str) -> None:
    seeds = KNOWN[engine] + [f"{NEW}/{number}" for number in range(ROUNDS)]
    wrong = {seed: found for seed in seeds if (found := played(engine, seed))}
    assert not wrong
