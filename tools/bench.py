"""`make bench` and `make guide`: builds what is measured, measures it beside what is installed.

`bench.py bench` runs the shop workload in two rounds and writes build/bench/; `bench.py guide` runs
every workload in three rounds, then measures what a request pays in Django and what is often said
of session stores, and writes build/guide/. Further arguments go to `sessile-bench compare`. What
is written: report.html, report.md, raw.json, and sessions.json and claims.json of the guide; with
these in docs/measurements/, `tools/guide.py` makes docs/guide.md. Keep the machine quiet meanwhile:
the spread over the rounds, which the report shows, tells whether it was.

Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
        compare(place, what, out, more)
        if what == "guide":
            in_python(place, out, "sessions")
            in_python(place, out, "claims")
    except (SetupError, StartError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"see {(out / 'report.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
