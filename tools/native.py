"""Builds the native module of the Python package and puts it beside the sources.

`native.py` builds `sessile._native` in release mode and copies it to python/src/sessile, where
tests and the shop find it; it's ignored by git, and `pip install ./python` builds its own. A
second call costs a check by cargo. Without it the package works as well, more slowly.
Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "python/Cargo.toml"
MODULE = ROOT / "python/src/sessile/_native.abi3.so"


def build() -> bool:
    """Builds the module and puts it in its place; whether that worked. Cargo says what didn't."""
    base = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    target = base / "native"
    command = ["cargo", "build", "-q", "--release", "--locked"]
    command += ["--manifest-path", str(MANIFEST), "--target-dir", str(target)]
    if subprocess.run(command, check=False).returncode:
        return False
    built = target / "release/lib_native.so"
    if not MODULE.exists() or MODULE.read_bytes() != built.read_bytes():
        # A process may have the old file mapped: it keeps it, the name gets the new one.
        fresh = MODULE.with_suffix(".new")
        shutil.copy(built, fresh)
        fresh.replace(MODULE)
    return True


if __name__ == "__main__":
    sys.exit(0 if build() else "error: the native module does not build, see above")
