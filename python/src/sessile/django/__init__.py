"""Sessions of Django: `SESSION_ENGINE = "sessile.django"`.

`SessionStore` is the engine, `SessionMiddleware` the drop-in for Django's own. With
"sessile.django" in INSTALLED_APPS come checks, commands and the admin's page of sessions.
`docs/django.md` shows how it's used.
"""

from __future__ import annotations

from sessile.django.middleware import SessionMiddleware
from sessile.django.store import SessionStore

__all__ = ["SessionMiddleware", "SessionStore"]
