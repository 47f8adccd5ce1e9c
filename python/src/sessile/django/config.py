"""What Django's settings say to `sessile.session`.

They are read once, and again when a test overrides one. What always holds: the user of
a session is its `_auth_user_id`, its expiry is its `_session_expiry`, as Django writes them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from sessile.settings import Expiry, Settings, read

__all__ = ["configured", "cookie_age", "expiry_of", "user_of", "without_grace"]

AGES_MAX = 16
"""Cookie ages whose settings are kept: one, unless stores have ages of their own."""
USER = "_auth_user_id"
EXPIRY = "_session_expiry"
PAST = Expiry(at=1)
UNSET = Expiry()


@lru_cache(maxsize=1)
def configured() -> Settings:
    """The settings of this project; raises ConfigurationError."""
    return read(
        lambda name: getattr(django_settings, name, None),
        home=getattr(django_settings, "BASE_DIR", None),
        debug=bool(django_settings.DEBUG),
        idle=max(0, int(django_settings.SESSION_COOKIE_AGE)),
        user_of=user_of,
        expiry_of=expiry_of,
        cookie_age=partial(cookie_age, int(django_settings.SESSION_COOKIE_AGE)),
        moving=moving_in(),
    )


@lru_cache(maxsize=AGES_MAX)
def without_grace(age: int) -> Settings:
    """The settings of a store with that cookie age in seconds, without GRACE, made once."""
    settings = configured()
    if settings.grace or settings.idle != age:
        aging = partial(cookie_age, age)
        settings = replace(settings, grace=0, idle=age, cookie_age=aging)
    return settings


def moving_in() -> Any:
    """Where sessions come from, while they move in."""
    module = getattr(django_settings, "SESSILE_SOURCE", None)
    if module is None:
        return None
    from sessile.django.moving import moving

    return moving(module, getattr(django_settings, "SESSILE_MOVING", None))


def forget(**_: Any) -> None:
    """Lets the next call read anew."""
    configured.cache_clear()
    without_grace.cache_clear()


setting_changed.connect(forget)


def user_of(document: Mapping[str, Any]) -> str:
    """Who is signed in."""
    user = document.get(USER)
    return "" if user is None else str(user)


def expiry_of(document: Mapping[str, Any]) -> Expiry:
    """What `set_expiry` left: seconds, a moment as ISO text, or nothing."""
    value = document.get(EXPIRY)
    if not value:
        return UNSET
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return Expiry(at=max(1, int(value.timestamp() * 1000)))
    return Expiry(idle=math.ceil(value)) if value > 0 else PAST


def cookie_age(usual: int, document: Mapping[str, Any]) -> int:
    """For how many seconds a browser keeps the cookie; 0 until it's closed."""
    expiry = expiry_of(document)
    if expiry.at is not None:
        return max(1, expiry.at // 1000 - int(time.time()))
    closes = bool(django_settings.SESSION_EXPIRE_AT_BROWSER_CLOSE)
    if document.get(EXPIRY) == 0 or (expiry.idle is None and closes):
        return 0
    return usual if expiry.idle is None else expiry.idle
