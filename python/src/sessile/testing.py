"""For test suites of apps: a store of sessions that is new for each test.

`pytest_plugins = ["sessile.testing"]` in a conftest.py gives the fixture `sessile_url`. What
always holds: nothing is started and nothing leaves the process; no session of one test is seen
by another, of this process or of another.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from sessile import settings

__all__ = ["fresh_store", "sessile_url"]


def fresh_store() -> str:
    """A URL for SESSILE_URL of a store in this process that has no sessions yet."""
    return f"memory:{secrets.token_hex(8)}"


@pytest.fixture
def sessile_url() -> Iterator[str]:
    """The URL of a store that lasts as long as the test."""
    url = fresh_store()
    yield url
    for engines in (settings.ENGINES, settings.ASYNC_ENGINES):
        engines.pop(url, None)
