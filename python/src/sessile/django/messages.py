"""Messages in the session, one leaf per message.

`MESSAGE_STORAGE = "sessile.django.messages.MessageStorage"`. Two requests that add a message at
once lose none, and showing messages takes away only those that were shown. What always holds:
adding a message reads nothing; messages are shown in the order in which they were added.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from django.contrib.messages.storage.base import BaseStorage, Message
from django.core.exceptions import ImproperlyConfigured
from django.utils.safestring import SafeData, mark_safe

__all__ = ["PREFIX", "MessageStorage"]

PREFIX = "_message:"
"""How the keys of messages begin in a session."""


class MessageStorage(BaseStorage):
    """Keeps messages in `request.session` until they're shown."""

    def __init__(self, request: Any, *args: Any, **kwargs: Any) -> None:
        if not hasattr(request, "session"):
            raise ImproperlyConfigured(
                "MessageStorage needs the session middleware, before the message middleware in "
                "MIDDLEWARE."
            )
        super().__init__(request, *args, **kwargs)

    def update(self, response: Any) -> list[Message]:
        """Takes away what was shown, and keeps what was added since."""
        self._prepare_messages(self._queued_messages)
        if self.used or self.added_new:
            return self._store(self._queued_messages, response)
        return []

    def _get(self, *args: Any, **kwargs: Any) -> tuple[list[Message], bool]:
        kept = [row for row in self.request.session.items() if is_message(row[0])]
        return [message(row) for _, row in sorted(kept)], True

    def _store(
        self, messages: list[Message], response: Any, *args: Any, **kwargs: Any
    ) -> list[Message]:
        session = self.request.session
        if self.used:
            # Of Django's sessions nobody says that they are iterable themselves.
            for key in [key for key in session.keys() if is_message(key)]:  # noqa: SIM118
                del session[key]
        for one in messages:
            safe = isinstance(one.message, SafeData)
            row = [safe, one.level, str(one.message), one.extra_tags]
            key = f"{PREFIX}{time.time_ns():016x}{secrets.token_hex(4)}"
            if hasattr(session, "init"):
                session.init(key, row)
            else:
                session[key] = row
        return []


def is_message(key: Any) -> bool:
    return isinstance(key, str) and key.startswith(PREFIX)


def message(row: list[Any]) -> Message:
    """A message as it was kept."""
    safe, level, text, tags = row
    return Message(level, mark_safe(text) if safe else text, extra_tags=tags)
