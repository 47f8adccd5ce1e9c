"""What a request pays for its session in Django, by engine: to load it, to change and save it.

    python tools/measure_sessions.py [ROUNDS] [--json FILE]

Load is the time from SessionStore(id) to the first value read; change is that of assigning one
field of a loaded session and saving it. The session has 12 leaves of 461 bytes together. The
engines take turns, 200 requests each, so that a machine that slows down slows all of them; printed
are medians and percentiles over all requests, and their ratio to Django's cache engine on
PyMemcacheCache. The client has the first core for itself and the servers the last: else the
scheduler moves them together and apart, and a round trip takes 40 or 150 microseconds from one
moment to the next. Starts Debian's redis-server and memcached and our own release binary; needs
the virtual environment of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from servers import RIVALS, Store, server_bin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python/src"))
REQUESTS = 200
LEAVES = {f"field{n:02}": "v" * 26 for n in range(11)} | {"_auth_user_id": "12345678"}


def settings(rivals: Store, ours: Store) -> None:
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
        },
        SESSILE_URL=ours.redis_url,
    )
    import django

    django.setup()


def makers(rivals: Store, ours: Store) -> dict[str, object]:
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
        "cache on PyMemcacheCache": cached("pymemcache"),
        "cache on django-redis": cached("django-redis"),
        "cache on RedisCache": cached("redis"),
        "sessile on redis-server": sessile(rivals.redis_url),
        "sessile on Sessile, redis://": sessile(ours.redis_url),
        "sessile on Sessile, sessile://": sessile(f"sessile://{host}"),
        "sessile on Sessile, unix://": sessile(f"unix://{ours.unixsocket}"),
    }


def load(make, key: str) -> float:
    """Seconds from the constructor to the first value."""
    begun = time.perf_counter()
    make(key)["field05"]
    return time.perf_counter() - begun


def change(make, key: str, value: str) -> float:
    """Seconds to change one field of a loaded session and save it."""
    session = make(key)
    assert session["field05"]
    begun = time.perf_counter()
    session["field05"] = value
    session.save()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=15)
    parser.add_argument("--json", type=Path, help="also write the figures to that file")
    options = parser.parse_args()
    rounds = options.rounds
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    in_memory = ["--appendonly", "no"]
    with Store(command=RIVALS) as rivals, Store(command=server_bin(), extra=in_memory) as ours:
        os.sched_setaffinity(0, cores[:1])
        settings(rivals, ours)
        stores = makers(rivals, ours)
        keys = {}
        for name, make in stores.items():
            session = make()
            session.update(LEAVES)
            session.save()
            keys[name] = session.session_key
        times = {name: ([], []) for name in stores}
        for round_ in range(rounds + 1):
            for name, make in stores.items():
                loads = [load(make, keys[name]) for _ in range(REQUESTS)]
                changes = [change(make, keys[name], f"{round_}:{n:020}") for n in range(REQUESTS)]
                if round_:  # the first one warms up
                    times[name][0].extend(loads)
                    times[name][1].extend(changes)
        show(times)
        if options.json:
            options.json.write_text(json.dumps(figures(times, rounds), indent=1) + "\n")


def figures(times: dict[str, tuple[list[float], list[float]]], rounds: int) -> dict[str, Any]:
    """What was measured, in microseconds."""
    targets = {}
    for name, both in times.items():
        targets[name] = {}
        for what, which in zip(("load", "change"), both, strict=True):
            ordered = sorted(which)
            targets[name][what] = {
                "p50": statistics.median(which) * 1e6,
                "p99": ordered[len(ordered) * 99 // 100] * 1e6,
            }
    return {
        "unit": "microseconds",
        "rounds": rounds,
        "leaves": len(LEAVES),
        "json_bytes": len(json.dumps(LEAVES)),
        "targets": targets,
    }


def show(times: dict[str, tuple[list[float], list[float]]]) -> None:
    base = [statistics.median(which) for which in times["cache on PyMemcacheCache"]]
    size = len(json.dumps(LEAVES))
    print(f"microseconds; a session of {len(LEAVES)} leaves, {size} bytes as JSON")
    titles = [f"{title:>9} {'p99':>7} {'ratio':>6}" for title in ("load p50", "change")]
    print(f"{'':32} {titles[0]}   {titles[1]}")
    for name, both in times.items():
        cells = []
        for which, first in zip(both, base, strict=True):
            half = statistics.median(which)
            late = sorted(which)[len(which) * 99 // 100]
            cells.append(f"{half * 1e6:9.0f} {late * 1e6:7.0f} {half / first:6.2f}")
        print(f"{name:32} {cells[0]}   {cells[1]}")


if __name__ == "__main__":
    main()
