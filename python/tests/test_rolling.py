"""Rolling from an old engine to ours and back under load: nobody is signed out, nobody revived.

The old engines are Django's own (cached_db, cache on its RedisCache and on django-redis) and
Flask-Session's, all on redis-server; ours is on redis-server and on our own. Workers of gunicorn
are replaced one by one, users go on meanwhile (rolling.py). `make rolling` is a longer run, all
the way with every engine: ROLL is how often each user does something at each step, SEED repeats a
run's choices.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolling import WORKERS, Crowd, Site
from stores import World

SEED = int(os.environ.get("SEED", 0)) or time.time_ns() % 1_000_000
LONG = "ROLL" in os.environ
VISITS = int(os.environ.get("ROLL", 4))
USERS = 6
STORES = {
    "django-cached_db": "redis",
    "django-cache": "sessile",
    "django-cache-django_redis": "redis",
    "flask-session": "sessile",
}
"""Where sessions move to from each old engine."""
THERE = ["mirror", "old"]
"""As docs/moving-in.md has it, and back."""
ALL_THE_WAY = ["mirror", "move", "mirror", "old"]
FAR = dict.fromkeys(STORES, ALL_THE_WAY)
SOME = {**dict.fromkeys(STORES, THERE), "django-cached_db": ALL_THE_WAY}
PATHS = FAR if LONG else SOME


@pytest.fixture(params=STORES)
def site(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Site]:
    app = request.param
    old = f"redis://127.0.0.1:{world.redis().port}/{7 + list(STORES).index(app)}"
    url = world.url(STORES[app], "timeout=20&pool_wait=20")
    site = Site(tmp_path, app, old, url)
    site.start()
    yield site
    site.stop()


@pytest.mark.timeout(0 if LONG else 600)
def test_rolling_signs_nobody_out_and_revives_nobody(site: Site) -> None:
    print(f"SEED={SEED}")
    path = PATHS[site.app]
    replaced = 0
    with Crowd(site.port, SEED, USERS) as crowd:
        crowd.visit(VISITS)
        for way in path:
            while site.replace_one(way):
                replaced += 1
                crowd.visit(VISITS)
    assert crowd.wrong() == []
    assert replaced == WORKERS * len(path)
    done = sum((user.seen for user in crowd.users), Counter())
    assert min(done[what] for what in ("hit", "sign_out", "renew", "try_old")) > 0, done
    served = sum((user.served for user in crowd.users), Counter())
    assert set(served) == {"old", *path}
    print(f"{site.app}: {dict(done)}, served by {dict(served)}")
