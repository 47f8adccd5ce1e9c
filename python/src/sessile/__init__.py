"""Sessions that are fast, safe, and never lose an update.

`sessile.django`, `sessile.flask`, `sessile.quart` and `sessile.starlette` fit the frameworks; the
engine that keeps the sessions is named by one URL (`sessile.urls`).
"""

from __future__ import annotations

from sessile.errors import (
    ConfigurationError,
    DocumentError,
    EncryptionError,
    NotSupported,
    SessileError,
    SessionConflict,
    SessionUnavailable,
)

__all__ = [
    "ConfigurationError",
    "DocumentError",
    "EncryptionError",
    "NotSupported",
    "SessileError",
    "SessionConflict",
    "SessionUnavailable",
    "__version__",
]

__version__ = "0.1.0"
