"""Django's cache session engine on each cache that can hold it: the life of one session.

Django's own suite (tests/django) has the details; this is the path that every application takes,
under every backend and with the session seen in the store.
"""

from __future__ import annotations

import django
import pytest
import redis
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.test import override_settings

BACKENDS = {
    "RedisCache": ("django.core.cache.backends.redis.RedisCache", "redis_url"),
    "django-redis": ("django_redis.cache.RedisCache", "redis_url"),
    "PyMemcacheCache": ("django.core.cache.backends.memcached.PyMemcacheCache", "memcached"),
    "PyLibMCCache": ("django.core.cache.backends.memcached.PyLibMCCache", "memcached"),
}


@pytest.fixture(params=BACKENDS)
def session_class(store, request: pytest.FixtureRequest):
    """The session class, with its cache pointed at the store."""
    if not settings.configured:
        settings.configure(SECRET_KEY="for tests")
        django.setup()
    backend, where = BACKENDS[request.param]
    cache = {"BACKEND": backend, "LOCATION": getattr(store, where)}
    with override_settings(CACHES={"default": cache}):
        from django.contrib.sessions.backends.cache import SessionStore

        yield SessionStore


def test_a_session_from_sign_in_to_sign_out(session_class) -> None:
    visit = session_class()
    visit["cart"] = {"oak": 2}
    visit.set_expiry(600)
    visit.save()
    key = visit.session_key

    assert session_class(key)["cart"] == {"oak": 2}
    later = session_class(key)
    later.cycle_key()
    assert later.session_key != key
    assert session_class(key).load() == {}

    stale = session_class(later.session_key)
    stale["late"] = True
    later.flush()
    assert later.session_key is None
    with pytest.raises(UpdateError):
        stale.save()


def test_an_unknown_id_is_never_adopted(session_class) -> None:
    stranger = session_class("a" * 32)
    assert stranger.load() == {}
    assert stranger.session_key is None


def test_the_timeout_is_the_key_s(session_class, store, left) -> None:
    visit = session_class()
    visit["a"] = 1
    visit.set_expiry(600)
    visit.save()
    with redis.Redis(port=store.port) as client:
        keys = list(client.scan_iter(f"*{visit.session_key}"))
        if keys or store.ours:
            (key,) = keys
            assert left(600, client.ttl(key))
    visit.set_expiry(-1)
    visit.save()
    assert session_class(visit.session_key).load() == {}
