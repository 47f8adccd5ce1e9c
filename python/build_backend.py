"""How `pip install` builds this distribution: with the native module if it can, else without.

With cargo on the PATH the wheel is maturin's and holds `sessile._native`; without cargo, or with
SESSILE_PURE=1, it's a wheel of plain Python that does the same, more slowly. What always holds:
a machine without a Rust toolchain can install the package, and one that has it never gets the
slow one in silence: if the module doesn't build, the installation fails.
"""

from __future__ import annotations

import os
import shutil
from types import ModuleType
from typing import Any

__all__ = [
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

MATURIN = "maturin>=1.9.4,<2"
SETUPTOOLS = "setuptools>=77"


def get_requires_for_build_wheel(settings: dict[str, Any] | None = None) -> list[str]:
    return [MATURIN if is_native() else SETUPTOOLS]


def get_requires_for_build_sdist(settings: dict[str, Any] | None = None) -> list[str]:
    return [MATURIN if is_native() else SETUPTOOLS]


def build_wheel(
    folder: str, settings: dict[str, Any] | None = None, metadata: str | None = None
) -> str:
    return backend().build_wheel(folder, settings, metadata)


def build_sdist(folder: str, settings: dict[str, Any] | None = None) -> str:
    return backend().build_sdist(folder, settings)


def is_native() -> bool:
    """Whether there's a Rust toolchain, and nobody said to do without."""
    return os.environ.get("SESSILE_PURE", "0") in {"", "0"} and shutil.which("cargo") is not None


def backend() -> ModuleType:
    if is_native():
        import maturin

        return maturin
    from setuptools import build_meta

    return build_meta
