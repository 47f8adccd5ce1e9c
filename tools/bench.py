"""`make bench` and `make guide`: builds what is measured, measures it beside what is installed.

`bench.py bench` runs the shop workload in two rounds and writes build/bench/; `bench.py guide` runs
every workload in three rounds, then measures what a request pays in Django and in Flask and what is
often said of session stores, and writes build/guide/. Further arguments go to
`sessile-bench compare`. What is written: report.html, report.md, raw.json, facts.json (which commit
and binaries, when, how long), and of the guide sessions.json, flask.json and claims.json; with
these in docs/measurements/, `tools/guide.py` makes docs/guide.md. Keep the machine quiet meanwhile:
the spread over the rounds, which the report shows, tells whether it was.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
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


def compare(place: Path, what: str, out: Path, more: list[str]) -> None:
    """Runs the comparison."""
    command = [str(place / "sessile-bench"), "compare", "--sessile", str(place / "sessile")]
    command += [*TERMS[what], "--out", str(out), *more]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
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


def facts_of(place: Path) -> dict[str, Any]:
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
        out.mkdir(parents=True, exist_ok=True)
        facts = facts_of(place)
        parts = {"compare": lambda: compare(place, what, out, more)}
        if what == "guide":
            for part in ("sessions", "flask", "claims"):
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
