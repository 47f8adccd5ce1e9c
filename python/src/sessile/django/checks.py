"""System checks: what in a project's settings doesn't fit its sessions.

`manage.py check` looks at the settings alone. `check --deploy` also asks the store how it evicts;
a store that doesn't answer is left to `manage.py sessile doctor`. What always holds: a message
never repeats a URL, which may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning

from sessile.django.config import configured
from sessile.doctor import eviction
from sessile.errors import ConfigurationError
from sessile.settings import Settings
from sessile.urls import parse

__all__ = ["fit_for_production", "settings_are_good"]

OWN = "sessile.django"
DJANGO_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
CONTAINERS = ("/.dockerenv", "/run/.containerenv")
ROOT = Path("/")


def settings_are_good(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Whether the settings can be used, and mean what they seem to mean."""
    try:
        ours = configured()
        scheme = parse(ours.url).scheme
    except ConfigurationError as error:
        return [Error(str(error), id="sessile.E001")]
    return [*unfitting(ours, scheme)]


def unfitting(ours: Settings, scheme: str) -> Iterator[CheckMessage]:
    """Settings that are well-formed and don't go together."""
    if scheme == "memcached" and ours.limit:
        yield Error(
            "SESSILE_LIMIT needs an index of users, which memcached doesn't have.",
            hint="Remove SESSILE_LIMIT, or keep sessions in another store.",
            id="sessile.E002",
        )
    elif scheme == "memcached":
        yield Info(
            "memcached has no index of users: their sessions can't be listed or ended all at once.",
            id="sessile.I001",
        )
    if settings.SESSION_ENGINE != OWN:
        yield Warning(
            f"sessile.django is installed, but SESSION_ENGINE is {settings.SESSION_ENGINE!r}.",
            hint='Set SESSION_ENGINE = "sessile.django".',
            id="sessile.W001",
        )
    if ours.grace and DJANGO_MIDDLEWARE in settings.MIDDLEWARE:
        yield Warning(
            "SESSILE_GRACE has no effect with Django's own SessionMiddleware.",
            hint='Use "sessile.django.SessionMiddleware" instead of it.',
            id="sessile.W002",
        )


def fit_for_production(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """What is good for trying out, and not for production."""
    try:
        ours = configured()
        scheme = parse(ours.url).scheme
    except ConfigurationError:
        return []
    return [*unfit_store(ours, scheme), *unfit_encryption(ours), *unfit_cookie()]


def unfit_store(ours: Settings, scheme: str) -> Iterator[CheckMessage]:
    """Stores that lose sessions."""
    if scheme == "memory":
        yield Error(
            "SESSILE_URL is memory: each process would have sessions of its own.",
            id="sessile.E003",
        )
    said = getattr(settings, "SESSILE_URL", None) or os.environ.get("SESSILE_URL")
    if scheme == "embedded" and not said:
        yield Warning(
            "Sessions are kept by a server that this project starts by itself, on this machine.",
            hint='If that is meant, say so: SESSILE_URL = "embedded:".',
            id="sessile.W003",
        )
    if scheme == "embedded" and in_container() and not on_volume(Path(parse(ours.url).path)):
        yield Warning(
            "Sessions are kept in a directory of this container, and are lost with it.",
            hint="Mount a volume there, or name another store in SESSILE_URL.",
            id="sessile.W004",
        )
    if eviction(ours).startswith("allkeys-"):
        yield Warning(
            "The store evicts any key when its memory is full: users would be signed out.",
            hint="Set its maxmemory-policy to volatile-ttl or noeviction.",
            id="sessile.W005",
        )


def unfit_encryption(ours: Settings) -> Iterator[CheckMessage]:
    """Values that anybody could have written."""
    if None in ours.encryption_keys:
        yield Warning(
            "SESSILE_ENCRYPTION_KEYS holds None: values that aren't encrypted are still accepted.",
            hint="Take it away when all sessions have been changed or have ended.",
            id="sessile.W007",
        )


def unfit_cookie() -> Iterator[CheckMessage]:
    """Where the cookie is weaker than it could be, beyond what Django's own checks say."""
    named = settings.SESSION_COOKIE_NAME.startswith("__Host-")
    if not named:
        yield Info(
            "Subdomains and plain HTTP can overwrite the session cookie.",
            hint='Set SESSION_COOKIE_NAME = "__Host-sessionid" and SESSION_COOKIE_SECURE = True.',
            id="sessile.I002",
        )
    bound = settings.SESSION_COOKIE_DOMAIN is None and settings.SESSION_COOKIE_PATH == "/"
    if named and not (settings.SESSION_COOKIE_SECURE and bound):
        yield Error(
            "Browsers refuse a cookie named __Host-... that has a domain, a path, or no Secure.",
            id="sessile.E004",
        )
    if settings.SESSION_COOKIE_SAMESITE not in ("Lax", "Strict"):
        yield Warning(
            "Other sites' forms are sent with the session cookie.",
            hint='Set SESSION_COOKIE_SAMESITE = "Lax".',
            id="sessile.W006",
        )


def in_container() -> bool:
    """Whether Docker or Podman left its mark."""
    return any(map(os.path.exists, CONTAINERS))


def on_volume(folder: Path) -> bool:
    """Whether a folder is, or would be made, on another file system than the container's root."""
    there = next(filter(os.path.exists, (folder, *folder.parents)))
    return there.stat().st_dev != ROOT.stat().st_dev
