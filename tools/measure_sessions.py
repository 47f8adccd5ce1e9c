"""What a request pays for its session in Django, by engine: load, change and save, sign in.

    python tools/measure_sessions.py [ROUNDS] [--json FILE]

Load is the time from SessionStore(id) to the first value read; change is that of assigning one
field of a loaded session and saving it; sign-in that of a new id, one field and saving. The session
has 12 leaves of 461 bytes together. Printed are medians and percentiles over all requests, and
their ratio to Django's cache engine on PyMemcacheCache. Starts Debian's redis-server and memcached
and our own release binary; needs the virtual environment of the tests.
"""

from __future__ import annotations

import time
from typing import Any

from servers import Store
from taking_turns import LEAVES, Ways, main

BASE = "cache on PyMemcacheCache"


def configure(rivals: Store, ours: Store) -> None:
    """Configures Django with every store."""
    from django.conf import settings

    redis = "django.core.cache.backends.redis.RedisCache"
    memcached = "django.core.cache.backends.memcached.PyMemcacheCache"
    settings.configure(
        SECRET_KEY="measuring",
        SESSION_SERIALIZER="django.contrib.sessions.serializers.JSONSerializer",
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "pymemcache": {"BACKEND": memcached, "LOCATION": rivals.memcached},
            "redis": {"BACKEND": redis, "LOCATION": rivals.redis_url},
            "django-redis": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": rivals.redis_url,
            },
            "django-redis on Sessile": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": ours.redis_url,
            },
        },
        SESSILE_URL=ours.redis_url,
    )
    import django

    django.setup()


def makers(rivals: Store, ours: Store) -> dict[str, Any]:
    """For each engine a function that makes a SessionStore of an id."""
    from dataclasses import replace

    from django.contrib.sessions.backends.cache import SessionStore as CacheStore
    from django.core.cache import caches

    from sessile.django.config import configured
    from sessile.django.store import SessionStore

    def cached(alias):
        class Store(CacheStore):
            def __init__(self, key=None):
                self._cache = caches[alias]
                super(CacheStore, self).__init__(key)

        return Store

    def sessile(url):
        class Store(SessionStore):
            def _settings(self):
                return chosen

        chosen = replace(configured(), url=url)
        return Store

    host = f"{ours.host}:{ours.port}"
    return {
        BASE: cached("pymemcache"),
        "cache on django-redis": cached("django-redis"),
        "cache on RedisCache": cached("redis"),
        "cache on django-redis on Sessile": cached("django-redis on Sessile"),
        "sessile on redis-server": sessile(rivals.redis_url),
        "sessile on Sessile, redis://": sessile(ours.redis_url),
        "sessile on Sessile, sessile://": sessile(f"sessile://{host}"),
        "sessile on Sessile, unix://": sessile(f"unix://{ours.unixsocket}"),
    }


class Way:
    """What is done with one engine's session."""

    def __init__(self, make) -> None:
        session = make()
        session.update(LEAVES)
        session.save()
        self.make, self.key = make, session.session_key

    def load(self, _: str) -> float:
        begun = time.perf_counter()
        assert self.make(self.key)["field05"]
        return time.perf_counter() - begun

    def change(self, value: str) -> float:
        session = self.make(self.key)
        assert session["field05"]
        begun = time.perf_counter()
        session["field05"] = value
        session.save()
        return time.perf_counter() - begun

    def sign_in(self, value: str) -> float:
        session = self.make(self.key)
        assert session["field05"]
        begun = time.perf_counter()
        session.cycle_key()
        session["field06"] = value
        session.save()
        took = time.perf_counter() - begun
        assert session.session_key != self.key
        self.key = session.session_key
        return took

    def operations(self):
        return {"load": self.load, "change": self.change, "sign-in": self.sign_in}


def ways(rivals: Store, ours: Store) -> Ways:
    configure(rivals, ours)
    return {name: Way(make).operations() for name, make in makers(rivals, ours).items()}


if __name__ == "__main__":
    main(__doc__ or "", BASE, ways)
