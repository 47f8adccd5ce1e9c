"""`make bench` and `make guide`: builds what is measured, measures it beside what is installed.

`bench.py bench` runs the shop workload in two rounds and writes build/bench/; `bench.py guide` runs
every workload in three rounds, then measures what a request pays in Django and in Flask and what is
often said of session stores, and writes build/guide/. Further arguments go to
`sessile-bench compare`. What is written: report.html, report.md, raw.json, figures.json, facts.json
(which commit, binaries and versions, when, how long), and of the guide sessions.json, flask.json
and claims.json; `make page` makes docs/guide.md of these. Keep the machine quiet meanwhile:
the spread over the rounds, which the report shows, tells whether it was.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import native
from run import build
from servers import ROOT, StartError
from setup_venv import SetupError, ensure, say

TERMS = {
    "bench": ("--workloads", "shop", "--rounds", "2"),
    "guide": ("--rounds", "3"),
}


PYTHON = {"sessions": 70, "flask": 35, "claims": 20}
"""Parts of the guide that are measured in Python, and about how many seconds each takes."""
DISTRIBUTIONS = ("Django", "Flask", "Flask-Session", "redis", "hiredis", "django-redis")
DISTRIBUTIONS += ("pymemcache", "msgspec")


def comparison(place: Path, what: str, out: Path, more: list[str]) -> list[str]:
    """The command line of the comparison."""
    command = [str(place / "sessile-bench"), "compare", "--sessile", str(place / "sessile")]
    return [*command, *TERMS[what], "--out", str(out), *more]


def expected(command: list[str], what: str) -> float:
    """About how many seconds all of it takes."""
    asked = [*command, "--how-long"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(done.stderr.strip())
    return float(done.stdout) + (sum(PYTHON.values()) if what == "guide" else 0)


def compare(command: list[str]) -> None:
    """Runs the comparison."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        process.wait()
    except KeyboardInterrupt:
        # It was told as well, and keeps what it has measured.
        process.wait()
        raise
    if process.returncode:
        raise SetupError("the comparison failed, see above")


def in_python(place: Path, out: Path, what: str) -> None:
    """Runs `measure_WHAT.py`, which writes WHAT.json."""
    python = ensure("demo", "tests", "python")
    if not native.build():
        raise SetupError("the native module of the Python package does not build, see above")
    say(f"measuring {what} in Python")
    environment = dict(os.environ, SESSILE_SERVER_BIN=str(place / "sessile"))
    command = [python, f"tools/measure_{what}.py", "--json", str(out / f"{what}.json")]
    if subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode:
        raise SetupError(f"measuring {what} failed, see above")


def git(*words: str) -> str:
    """What git says; nothing outside a clone."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def versions(place: Path, what: str) -> dict[str, str]:
    """What the servers say of themselves, and the Python packages that are measured."""
    commands = {
        "sessile": [str(place / "sessile"), "--version"],
        "redis-server": ["redis-server", "--version"],
        "memcached": ["memcached", "--version"],
    }
    found = {}
    for name, command in commands.items():
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = done.stdout.strip()
    if what == "guide":
        code = "import sys; from importlib.metadata import version\n"
        code += "print(*map(version, sys.argv[1:]))"
        command = [ensure("demo", "tests", "python"), "-c", code, *DISTRIBUTIONS]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found |= dict(zip(DISTRIBUTIONS, done.stdout.split(), strict=True))
    return found


def facts_of(place: Path, what: str) -> dict[str, Any]:
    """What is measured, and where."""
    binaries = ("sessile", "sessile-bench")
    sums = {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in binaries}
    return {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["tools/bench.py", *sys.argv[1:]],
        "commit": git("rev-parse", "HEAD"),
        "changed since": git("status", "--porcelain").splitlines(),
        "sha256": sums,
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": versions(place, what),
        "seconds": {},
    }


def main() -> int:
    """Does what the first argument names."""
    what, more = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if what not in TERMS:
        print("usage: bench.py bench|guide [OPTIONS OF sessile-bench compare]", file=sys.stderr)
        return 2
    out = ROOT / "build" / what
    try:
        say("building the server and the load generator, unless they are up to date")
        place = build("sessile-server", "sessile-bench")
        command = comparison(place, what, out, more)
        say(f"about {expected(command, what) / 60:.0f} minutes from now on")
        out.mkdir(parents=True, exist_ok=True)
        facts = facts_of(place, what)
        parts = {"compare": lambda: compare(command)}
        if what == "guide":
            for part in PYTHON:
                parts[part] = lambda part=part: in_python(place, out, part)
        for part, measure in parts.items():
            begun = time.monotonic()
            measure()
            facts["seconds"][part] = round(time.monotonic() - begun)
        (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    except (SetupError, StartError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"see {(out / 'report.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
