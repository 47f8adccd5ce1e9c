"""The demo's users: a few names in memory, whose password is their name. Not for anything real."""

from __future__ import annotations

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

NAMES = ("ada", "grace", "edsger", "barbara")


class DemoUsers(BaseBackend):
    """Signs in `ada` with the password `ada`, and so on."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None
    ) -> User | None:
        """The user, or None when name and password don't fit."""
        if username in NAMES and constant_time_compare(username, password or ""):
            return user(NAMES.index(username) + 1)
        return None

    def get_user(self, user_id: int) -> User | None:
        """The user of a session, by its number."""
        return user(user_id) if 1 <= user_id <= len(NAMES) else None


def user(number: int) -> User:
    """A user that was never saved: enough for sessions, templates and the session's own hash."""
    name = NAMES[number - 1]
    return User(pk=number, username=name, first_name=name.capitalize(), password=f"demo:{name}")
