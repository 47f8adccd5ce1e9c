"""What can go wrong with a session, as exceptions.

Everything that this package raises on purpose is a `SessileError`. Messages say what was wrong
and with what; they never hold an id, a handle or a value.
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "DocumentError",
    "EncryptionError",
    "NotSupported",
    "SessileError",
    "SessionConflict",
    "SessionGone",
    "SessionUnavailable",
]


class SessileError(Exception):
    """The base of all errors of this package."""


class ConfigurationError(SessileError, ValueError):
    """A setting or URL that can't be used; the message names it."""


class DocumentError(SessileError, TypeError, ValueError):
    """Something in a session that can't be stored; the message names its path."""


class EncryptionError(SessileError):
    """A session that can't be opened: it was sealed with another key, or changed from outside."""


class NotSupported(SessileError, NotImplementedError):
    """The engine can't do this; the message names both."""


class SessionConflict(SessileError):
    """Somebody else changed the session in the meantime, and strict mode was asked for."""


class SessionGone(SessileError):
    """The session ended while this request was being served: by a sign-out, or in time."""


class SessionUnavailable(SessileError, ConnectionError):
    """The store didn't answer in time; nothing is known of what it did."""
