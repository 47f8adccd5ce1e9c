"""Makes the virtual environment .venv and keeps it in step with the pinned requirements.

`ensure("demo")` installs demo/requirements.txt, `ensure("demo", "tests", "python")` all. A stamp
per file, made of its text and the interpreter's version, makes a second call cost nothing. What
can be missing on a fresh machine (the venv module, a new enough Python or pip) is installed where
we may, or else named in one line. Standard library only; runs on any Python 3 so that it can
complain about an old one.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
FILES = {
    "demo": ROOT / "demo/requirements.txt",
    "tests": ROOT / "tests/requirements.txt",
    "python": ROOT / "python/requirements-test.txt",
}
OLDEST = (3, 10)
OLDEST_PIP = (21, 2)  # what Python 3.10 brought along; nobody tried an older one


class SetupError(RuntimeError):
    """Something that only the machine's owner can fix; the message is one line."""


def ensure(*names):
    """Returns the environment's python, with the named requirement files installed."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"Python 3.10 or newer is needed, this is {found}: set PYTHON=python3.x")
    if not _works():
        _create()
    for name in names:
        _install(name)
    return str(PYTHON)


def _works():
    return PYTHON.exists() and _quiet([str(PYTHON), "-c", "import pip"]) == 0


def _create():
    say("making the virtual environment .venv")
    shutil.rmtree(VENV, ignore_errors=True)
    if _quiet([sys.executable, "-c", "import ensurepip, venv"]) != 0:
        _install_venv_module()
    if _quiet([sys.executable, "-m", "venv", str(VENV)]) != 0 or not _works():
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(f"`{sys.executable} -m venv .venv` failed: is python3-venv installed?")


def _install_venv_module():
    apt = shutil.which("apt-get")
    if os.geteuid() != 0 or not apt:
        raise SetupError("Python's venv module is missing: install it (Debian: python3-venv)")
    say("installing Debian's python3-venv")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run([apt, "-q", "update"], env=environment, stdout=subprocess.DEVNULL, check=False)
    command = [apt, "install", "-qy", "--no-install-recommends", "python3-venv"]
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SetupError("apt-get could not install python3-venv: install it by hand")


def _install(name):
    source = FILES[name]
    stamp = VENV / f".stamp-{name}"
    text = source.read_bytes() + sys.version.encode()
    wanted = hashlib.sha256(text).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _renew_pip()
    say(f"installing {source.relative_to(ROOT)} into .venv")
    if subprocess.run([*_pip_install(), "-r", str(source)], check=False).returncode:
        hint = " (pylibmc compiles against libmemcached-dev)" if name == "tests" else ""
        raise SetupError(f"pip could not install {source.relative_to(ROOT)}{hint}; see above")
    stamp.write_text(wanted)


def _renew_pip():
    """Gets a newer pip into .venv if the one there is too old for what we install."""
    found = _pip_version()
    if found >= OLDEST_PIP:
        return
    wanted, there = (".".join(map(str, version)) for version in (OLDEST_PIP, found))
    say(f"pip {there} in .venv is too old, getting {wanted} or newer")
    failed = _quiet([*_pip_install(), "--upgrade", f"pip>={wanted}"])
    if failed or _pip_version() < OLDEST_PIP:
        raise SetupError(
            f"pip {there} in .venv is too old, {wanted} or newer is needed, and it can't renew "
            f"itself: {PYTHON} -m pip install --upgrade pip"
        )


def _pip_version():
    """The numbers in `pip 23.2.1 from ...`; (0,) if it says nothing of the kind."""
    done = subprocess.run(
        [str(PYTHON), "-m", "pip", "--version"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    found = re.match(r"pip (\d+(?:\.\d+)*)", done.stdout.decode(errors="replace"))
    return tuple(map(int, found.group(1).split("."))) if found else (0,)


def _pip_install():
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [*pip, "install", "-q"]


def _quiet(command):
    null = subprocess.DEVNULL
    return subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False).returncode


def say(text):
    """One progress line for whoever waits."""
    print(f"-- {text}", flush=True)


if __name__ == "__main__":
    try:
        print(ensure(*(sys.argv[1:] or ["demo"])))
    except SetupError as problem:
        sys.exit(f"error: {problem}")
