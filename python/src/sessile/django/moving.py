"""Old sessions in another engine of Django's: cached_db, cache (django-redis too), db, cookies.

What always holds: the old engine is used as it is, by its own SessionStore and with its own
settings (SESSION_CACHE_ALIAS, SESSION_SERIALIZER ...), natively async where a request is.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.utils import timezone

from sessile.errors import ConfigurationError
from sessile.moving import Moving, Old

__all__ = ["OldEngine", "moving"]


class OldEngine:
    """The engine that SESSION_ENGINE named before."""

    def __init__(self, module: str) -> None:
        try:
            self.Store: Any = import_module(module).SessionStore
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(f"SESSILE_SOURCE: {module} is no session engine") from error
        self.carries = module.endswith("signed_cookies")
        self.rows = hasattr(self.Store, "get_model_class")

    def read(self, id: str) -> Old | None:
        store = self.Store(id)
        document = store.load()
        if not store.session_key or (self.carries and not document):
            return None
        row = self.row(store, id).first() if self.rows else None
        return Old(dict(document), remaining(row))

    async def aread(self, id: str) -> Old | None:
        store = self.Store(id)
        document = await store.aload()
        if not store.session_key or (self.carries and not document):
            return None
        row = await self.row(store, id).afirst() if self.rows else None
        return Old(dict(document), remaining(row))

    def row(self, store: Any, id: str) -> Any:
        return store.model.objects.filter(session_key=id).values_list("expire_date", flat=True)

    def write(self, id: str, document: dict[Any, Any], seconds: int, new: bool) -> bool:
        store = self.holding(id, document)
        try:
            store.save(must_create=new)
        except UpdateError:
            return False
        except CreateError:
            store.save()
        return True

    async def awrite(self, id: str, document: dict[Any, Any], seconds: int, new: bool) -> bool:
        store = self.holding(id, document)
        try:
            await store.asave(must_create=new)
        except UpdateError:
            return False
        except CreateError:
            await store.asave()
        return True

    def holding(self, id: str, document: dict[Any, Any]) -> Any:
        store = self.Store(id)
        store._session_cache = dict(document)
        return store

    def remove(self, id: str) -> None:
        if not self.carries:
            self.Store().delete(id)

    async def aremove(self, id: str) -> None:
        if not self.carries:
            await self.Store().adelete(id)


def remaining(expires: Any) -> int | None:
    """Seconds until a row's date."""
    if expires is None:
        return None
    seconds: float = (expires - timezone.now()).total_seconds()
    return max(1, math.ceil(seconds))


def moving(module: Any, way: Any) -> Moving | None:
    """What SESSILE_SOURCE and SESSILE_MOVING say; `None` if nothing."""
    if module is None:
        return None
    source = OldEngine(module) if isinstance(module, str) else module
    return Moving(source, way or "move")
