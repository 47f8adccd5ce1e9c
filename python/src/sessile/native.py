"""The native module, if it was built: the same as the Python code beside it, faster.

What always holds: `module` is None or one that agrees with this code on what its functions do; with
SESSILE_PURE=1 in the environment it's None.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["module"]

AGREEMENT = 5
"""What the native module and this package agree on; another one isn't used."""


def load() -> Any:
    """The module, or None."""
    if os.environ.get("SESSILE_PURE", "0") not in {"", "0"}:
        return None
    try:
        found = importlib.import_module("sessile._native")
    except ImportError:
        return None
    return found if found.AGREEMENT == AGREEMENT else None


module = load()
