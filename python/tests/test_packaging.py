"""What the distributions say of themselves, and how the build chooses its backend."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

import sessile

PYTHON = Path(__file__).resolve().parent.parent
ROOT = PYTHON.parent
VERSION = re.compile(r'^version = "([^"]+)"', re.MULTILINE)


@pytest.fixture
def build_backend():
    spec = importlib.util.spec_from_file_location("build_backend", PYTHON / "build_backend.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_parts_have_one_version():
    files = ["python/pyproject.toml", "python/server/pyproject.toml", "python/Cargo.toml"]
    versions = {name: VERSION.search((ROOT / name).read_text())[1] for name in files}
    versions["Cargo.toml"] = VERSION.search((ROOT / "Cargo.toml").read_text())[1]
    versions["sessile.__version__"] = sessile.__version__
    assert len(set(versions.values())) == 1, versions


def test_the_default_engine_has_its_server_on_linux():
    required = re.search("^dependencies = (.*)", (PYTHON / "pyproject.toml").read_text(), re.M)
    (one,) = json.loads(required[1])
    assert one == f"sessile-server=={sessile.__version__}; sys_platform == 'linux'"


def test_the_package_says_that_it_is_typed():
    assert (PYTHON / "src/sessile/py.typed").exists()


@pytest.mark.parametrize(
    ("cargo", "pure", "chosen"),
    [
        ("/usr/bin/cargo", None, "maturin"),
        ("/usr/bin/cargo", "0", "maturin"),
        ("/usr/bin/cargo", "1", "setuptools"),
        (None, None, "setuptools"),
    ],
)
def test_without_rust_the_wheel_is_plain_python(build_backend, monkeypatch, cargo, pure, chosen):
    monkeypatch.setattr(shutil, "which", lambda name: cargo)
    monkeypatch.delenv("SESSILE_PURE", raising=False)
    if pure is not None:
        monkeypatch.setenv("SESSILE_PURE", pure)
    (requirement,) = build_backend.get_requires_for_build_wheel()
    assert requirement.startswith(chosen)
