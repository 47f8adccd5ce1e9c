"""A Django site that moves in: served by an old engine of Django's, or by ours that knows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache import caches
from django.core.management import call_command
from django.test import Client as OneSiteClient
from django.test import override_settings

import django_site
from sessile.django.moving import OldEngine
from stores import World

BACKENDS = "django.contrib.sessions.backends."
ENGINES = ["db", "cached_db", "cache-redis", "cache-django_redis", "cache-memcached"]
TARGETS = ["redis", "sessile", "memcached"]
KEYS = ["the newest key of this test, long enough", "an older key of this test, long enough"]


class Client(OneSiteClient):
    """A browser. Each request finds the site as it's set up then, middleware too."""

    def get(self, *args: Any, **options: Any) -> Any:
        self.handler._middleware_chain = None
        return super().get(*args, **options)


class Move:
    """A site that can be served by the old engine or by ours."""

    def __init__(self, name: str, cache: dict[str, Any]) -> None:
        self.engine = BACKENDS + name.partition("-")[0]
        self.cache = cache

    def old(self) -> override_settings:
        return override_settings(SESSION_ENGINE=self.engine, CACHES=self.cache)

    def ours(self, way: str) -> override_settings:
        return override_settings(SESSILE_SOURCE=self.engine, SESSILE_MOVING=way, CACHES=self.cache)

    def records(self, client: Client) -> bool:
        """Whether the old engine has the client's session."""
        with override_settings(CACHES=self.cache):
            return OldEngine(self.engine).read(client.cookies["sessionid"].value) is not None


@contextmanager
def moving(name: str, target: str, world: World) -> Iterator[Move]:
    """The site, from an old engine to a store; `encrypted` is our server with keys."""
    django_site.users()
    if name.endswith("db"):
        with override_settings(INSTALLED_APPS=["django.contrib.sessions"]):
            call_command("migrate", "sessions", verbosity=0)
    port = world.redis().port if "memcached" not in name else 0
    chosen = Move(name, cache_of(name, world, port))
    keys = KEYS if target == "encrypted" else None
    with override_settings(SESSILE_URL=url_of(target, world), SESSILE_ENCRYPTION_KEYS=keys):
        yield chosen
    with override_settings(CACHES=chosen.cache):
        caches["default"].clear()
        caches["default"].close()


def cache_of(name: str, world: World, port: int) -> dict[str, Any]:
    kinds = {
        "redis": ("django.core.cache.backends.redis.RedisCache", f"redis://127.0.0.1:{port}/5"),
        "django_redis": ("django_redis.cache.RedisCache", f"redis://127.0.0.1:{port}/6"),
        "memcached": ("django.core.cache.backends.memcached.PyMemcacheCache", None),
    }
    backend, place = kinds[name.partition("-")[2] or "redis"]
    return {"default": {"BACKEND": backend, "LOCATION": place or world.memcached()[0]}}


def url_of(target: str, world: World) -> str:
    """Where sessions move to."""
    if target == "memcached":
        return "memcached://" + ",".join(world.memcached())
    if target == "redis":
        return world.redis().url
    return f"sessile://127.0.0.1:{world.sessile().port}"


def user_of(client: Client) -> str:
    return str(client.get("/read").json()["user"])


def signed_in(move: Move) -> Client:
    client = Client()
    with move.old():
        client.get("/sign_in?name=ada")
        client.get("/change")
        assert client.get("/read").json() == {"hits": 1, "user": "ada"}
    return client
