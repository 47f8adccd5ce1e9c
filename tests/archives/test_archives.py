"""What the source archives hold, and that they install far from the repository.

An archive is built as pip's kind builds one, unpacked in a temporary folder and installed into a
fresh virtual environment, in which one session is made on `embedded:`, by the server beside that
Python. What always holds: nothing of the repository can be imported or started there.

What compiles Rust is marked `builds`: that takes minutes, and downloads what the archives ask for
(the backends, and crates where cargo doesn't have them). The rest needs no network, once cargo
has the crates: the backends are those of tests/requirements.txt, and in the place of
`sessile-server` there is a wheel that is packed here of the server under test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import RIVALS, ROOT, server_bin, target_dir

PYTHON = ROOT / "python"
VERSION = re.search(r'^version = "(.+)"', (PYTHON / "pyproject.toml").read_text(), re.MULTILINE)[1]
TOOLS = Path(sys.executable).parent
BUILT = shutil.ignore_patterns(
    "target", "build", "dist", "__pycache__", "*.egg-info", "_native.*so", "*.new"
)
NOT_SHIPPED = {"tests", "benches", "server", "requirements-test.txt"}
ADDED = {"PKG-INFO", "setup.cfg"}
HOOK = "import sys, build_backend; build_backend.build_sdist(sys.argv[1])"
QUICKLY = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
"""Release builds without the long link: what is tested is that they are built."""
SESSION = """
import sys
from sessile import native
from sessile.plans import run
from sessile.session import session_of
from sessile.settings import read

settings = read(lambda name: None, home=sys.argv[1])
first = session_of(settings)
first.data["cart"] = {"apples": 3}
run(settings.engine(), first.finish())
second = session_of(settings, first.id)
run(settings.engine(), second.load())
assert second.data == {"cart": {"apples": 3}}, second.data
print("native" if native.module else "pure")
"""


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a machine without Rust, unpacked."""
    return unpacked(archive(tmp_path_factory.mktemp("pure"), pure=True))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a machine with it."""
    return unpacked(archive(tmp_path_factory.mktemp("native"), pure=False))


@pytest.fixture(scope="module")
def wheel(pure: Path) -> Path:
    """The wheel of plain Python, in a folder of its own."""
    folder = pure.parent / "wheel"
    build = ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    said([*pip(sys.executable), *build, str(pure)], pure.parent, SESSILE_PURE="1")
    return folder


def archive(folder: Path, *, pure: bool) -> Path:
    """The source archive of `sessile`, built from a copy: setuptools writes beside the sources."""
    copy, made = folder / "copy", folder / "made"
    shutil.copytree(PYTHON, copy, ignore=BUILT)
    said([sys.executable, "-c", HOOK, str(made)], copy, SESSILE_PURE=str(int(pure)))
    (found,) = made.iterdir()
    return found


def said(command: list[str], folder: Path, **environment: str) -> str:
    """What a program printed that knows nothing of the repository."""
    ours = {"PYTHONPATH", "SESSILE_SERVER_BIN", "SESSILE_URL", "SESSILE_NATIVE", "SESSILE_PURE"}
    base = {name: value for name, value in os.environ.items() if name not in ours}
    base["PATH"] = os.pathsep.join([str(TOOLS), base["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**base, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def unpacked(path: Path) -> Path:
    """The one folder of an archive, beside it."""
    with tarfile.open(path) as tar:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(path.parent, **safe)
    return path.with_name(path.name.removesuffix(".tar.gz"))


def installed(folder: Path, *arguments: str, **environment: str) -> Path:
    """The Python of a fresh virtual environment in which pip has installed something."""
    python = folder / "venv/bin/python"
    said([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    said([*pip(python), "install", *arguments], folder, **environment)
    return python


def pip(python: str | Path) -> list[str]:
    return [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]


def made_a_session(python: Path, folder: Path) -> str:
    """Makes one; whether the codec is `native` or `pure`."""
    home = folder / "app"
    home.mkdir()
    try:
        codec = said([str(python), "-c", SESSION, str(home)], folder).strip()
        program = running(home / ".sessile")
    finally:
        end(home / ".sessile")
    assert program == python.parent.absolute() / "sessile", "the server that came with it"
    return codec


def running(home: Path) -> Path:
    """The program of the server in a folder."""
    return Path(f"/proc/{pid_of(home)}/exe").readlink()


def pid_of(home: Path) -> int:
    return int(re.findall("PID: ([0-9]+)", (home / "server.log").read_text())[-1])


def end(home: Path) -> None:
    """Kills it, if it came to that."""
    if (home / "server.log").exists():
        os.kill(pid_of(home), 9)


def packed_server(folder: Path, version: str = VERSION) -> Path:
    """A folder with a wheel `sessile-server`, of the server under test."""
    if server_bin() == RIVALS:
        pytest.skip("this is about our own server")
    wheels = folder / "wheels"
    wheels.mkdir()
    name = f"sessile_server-{version}"
    info = f"{name}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: sessile-server\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(wheels / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.write(server_bin(), f"{name}.data/scripts/sessile")
        for path, text in files.items():
            wheel.writestr(path, text)
    return wheels


def shipped() -> set[str]:
    """The files that an archive must hold."""
    found = {path.relative_to(PYTHON) for path in files_of(PYTHON)}
    return {str(path) for path in found if path.parts[0] not in NOT_SHIPPED}


def files_of(folder: Path) -> Iterator[Path]:
    """Files, but for what is built into the tree."""
    for place, folders, names in os.walk(folder):
        left_out = BUILT(place, [*folders, *names])
        folders[:] = [name for name in folders if name not in left_out]
        yield from (Path(place) / name for name in names if name not in left_out)


@pytest.mark.parametrize("kind", ["pure", "native"])
def test_either_archive_holds_all_that_both_builds_need(
    kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "native" and not shutil.which("cargo"):
        pytest.fail("no cargo: this archive is built on a machine with Rust")
    folder = request.getfixturevalue(kind)
    held = {str(path.relative_to(folder)) for path in files_of(folder)}
    assert held - ADDED == shipped()


def test_the_pure_archive_installs_and_keeps_a_session(wheel: Path, tmp_path: Path) -> None:
    offline = ["--no-index", "--find-links", str(wheel), "--find-links"]
    python = installed(tmp_path, *offline, str(packed_server(tmp_path)), "sessile")
    assert made_a_session(python, tmp_path) == "pure"
    (place,) = tmp_path.glob("venv/lib/python3.*/site-packages/sessile")
    installed_files = {f"src/sessile/{path.relative_to(place)}" for path in files_of(place)}
    assert installed_files == {path for path in shipped() if path.startswith("src/")}


def test_a_server_of_another_version_is_not_enough(wheel: Path, tmp_path: Path) -> None:
    offline = ["--no-index", "--find-links", str(wheel), "--find-links"]
    with pytest.raises(AssertionError, match=f"requirement sessile-server=={VERSION}"):
        installed(tmp_path, *offline, str(packed_server(tmp_path, "0.0.9")), "sessile")


@pytest.mark.builds
def test_both_archives_build_and_install_in_one_command(native: Path, tmp_path: Path) -> None:
    """As `pip install ./python ./python/server`, from what was unpacked, with pip's isolation."""
    server = tmp_path / "server"
    said(["maturin", "sdist", "-o", str(server)], PYTHON / "server")
    (packed,) = server.iterdir()
    folders = [str(native), str(unpacked(packed))]
    built = {**QUICKLY, "CARGO_TARGET_DIR": str(target_dir() / "archives")}
    python = installed(tmp_path, *folders, **built)
    assert made_a_session(python, tmp_path) == "native"


@pytest.mark.builds
def test_a_machine_without_rust_builds_the_other_s_archive(native: Path, tmp_path: Path) -> None:
    wheels = packed_server(tmp_path)
    without = {"SESSILE_PURE": "1"}
    python = installed(tmp_path, "--find-links", str(wheels), str(native), **without)
    assert made_a_session(python, tmp_path) == "pure"
