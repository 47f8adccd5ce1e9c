"""The shop under Django's test client, with a store of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from servers import Store


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """A running store, and Django set up to use it."""
    with Store() as store:
        os.environ["SESSILE_URL"] = store.sessions_url
        os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
        import django
        from django.test.utils import setup_test_environment, teardown_test_environment

        django.setup()
        setup_test_environment()
        yield store
        teardown_test_environment()
        assert store.alive(), store.log()[-4000:]


@pytest.fixture
def browser(store: Store) -> Iterator:
    """Makes browsers: each call is a fresh one without cookies."""
    from django.test import Client

    from shop import facts

    facts.client().flushall()

    def make(agent: str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0") -> Client:
        return Client(headers={"User-Agent": agent}, enforce_csrf_checks=False)

    yield make
