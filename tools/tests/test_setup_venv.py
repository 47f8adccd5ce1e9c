"""setup_venv.py on machines that lack something, played by interpreters that are shell scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import setup_venv
from setup_venv import SetupError

INTERPRETER = """#!/bin/sh
here={here}
echo "$*" >> $here/asked
case "$*" in
  "-c import ensurepip, venv") test -e $here/has-venv ;;
  "-m venv "*) mkdir -p $3/bin && cp $0 $3/bin/python ;;
  "-m pip --version") echo "pip $(cat $here/pip) from /somewhere (python 3.10)" ;;
  *"install -q --upgrade pip>="*) test -e $here/newer-pip && cp $here/newer-pip $here/pip ;;
esac
"""
APT = "#!/bin/sh\ncase $1 in install) {then} ;; esac\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with that interpreter, all of it in one folder: `has-venv`, `pip`, `newer-pip`."""
    program(tmp_path / "python3", INTERPRETER.format(here=tmp_path))
    (tmp_path / "pip").write_text("23.2.1")
    (tmp_path / "has-venv").touch()
    (tmp_path / "apt").mkdir()
    venv = tmp_path / "venv"
    wanted = setup_venv.ROOT / "demo/requirements.txt"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setattr(setup_venv, "VENV", venv)
    monkeypatch.setattr(setup_venv, "PYTHON", venv / "bin/python")
    monkeypatch.setattr(setup_venv, "FILES", {"demo": wanted})
    monkeypatch.setenv("PATH", f"{tmp_path / 'apt'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def asked(machine: Path) -> str:
    return (machine / "asked").read_text()


def test_all_there(machine: Path) -> None:
    assert setup_venv.ensure("demo") == str(machine / "venv/bin/python")
    assert f"install -q -r {setup_venv.ROOT}/demo/requirements.txt" in asked(machine)
    assert "--upgrade" not in asked(machine)
    (machine / "asked").unlink()
    setup_venv.ensure("demo")
    assert asked(machine) == "-c import pip\n", "a second call costs nothing"


def test_no_venv_module_is_one_line(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "has-venv").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match=r"venv module is missing: install it \(Debian: python3-"):
        setup_venv.ensure("demo")
    assert not (machine / "venv").exists()


@pytest.mark.parametrize("works", [True, False])
def test_root_gets_debian_s(machine: Path, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "has-venv").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    then = f"touch {machine}/has-venv" if works else "exit 100"
    program(machine / "apt/apt-get", APT.format(then=then))
    if works:
        setup_venv.ensure("demo")
        assert (machine / "has-venv").exists()
    else:
        with pytest.raises(SetupError, match="could not install python3-venv"):
            setup_venv.ensure("demo")


def test_a_venv_that_cannot_be_made_is_one_line(machine: Path) -> None:
    program(machine / "python3", "#!/bin/sh\ncase $2 in venv) exit 1 ;; esac\n")
    with pytest.raises(SetupError, match=r"-m venv \.venv` failed: is python3-venv installed\?"):
        setup_venv.ensure("demo")


@pytest.mark.parametrize("old", ["9.0.1", "20.3", "21.1.3", "unknown"])
def test_an_old_pip_is_renewed(machine: Path, old: str, capsys: pytest.CaptureFixture) -> None:
    (machine / "pip").write_text(old)
    (machine / "newer-pip").write_text("21.2")
    setup_venv.ensure("demo")
    shown = "0" if old == "unknown" else old
    assert f"pip {shown} in .venv is too old, getting 21.2 or newer" in capsys.readouterr().out
    lines = asked(machine).splitlines()
    renewed = next(n for n, line in enumerate(lines) if "--upgrade pip>=21.2" in line)
    assert renewed < next(n for n, line in enumerate(lines) if "-r " in line)


@pytest.mark.parametrize("newer", [None, "21.1"])
def test_an_old_pip_that_stays_is_one_line(machine: Path, newer: str | None) -> None:
    (machine / "pip").write_text("20.3.4")
    if newer:
        (machine / "newer-pip").write_text(newer)
    with pytest.raises(SetupError, match=r"pip 20\.3\.4 in .* 21\.2 or newer is needed") as refused:
        setup_venv.ensure("demo")
    assert "\n" not in str(refused.value)
    assert "-r " not in asked(machine)


def test_an_old_python_is_one_line() -> None:
    """The version is told: no such Python needs to be there."""
    script = "import sys; sys.version_info = (3, 8, 18); import setup_venv; setup_venv.ensure()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(setup_venv.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Python 3.10 or newer is needed, this is 3.8.18" in done.stderr
