"""`make bench` and `make guide`: builds what is measured, measures it beside what is installed.

`bench.py bench` runs the shop workload in two rounds and writes build/bench/; `bench.py guide` runs
every workload in three rounds, then measures what a request pays in Django, and writes
build/guide/. Further arguments go to `sessile-bench compare`. What is written: report.html,
report.md, raw.json, and sessions.json of the guide. Keep the machine quiet meanwhile: the spread
over the rounds, which the report shows, tells whether it was.

Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from servers import ROOT, StartError, target_dir
from setup_venv import SetupError, ensure, say

TERMS = {
    "bench": ("--workloads", "shop", "--rounds", "2"),
    "guide": ("--rounds", "3"),
}


def build() -> Path:
    """Builds the server and the generator; answers where they are."""
    say("building the server and the load generator (the first time takes a few minutes)")
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    command += ["-p", "sessile-server", "-p", "sessile-bench"]
    try:
        done = subprocess.run(command, cwd=ROOT, check=False)
    except FileNotFoundError:
        raise SetupError("no cargo: install Rust (https://rustup.rs), then try again") from None
    if done.returncode:
        raise SetupError("the build failed, see above")
    return target_dir() / "release"


def compare(place: Path, what: str, out: Path, more: list[str]) -> None:
    """Runs the comparison."""
    command = [str(place / "sessile-bench"), "compare", "--sessile", str(place / "sessile")]
    command += [*TERMS[what], "--out", str(out), *more]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SetupError("the comparison failed, see above")


def django(place: Path, out: Path) -> None:
    """What a request pays in Django with each engine."""
    python = ensure("demo", "tests", "python")
    say("what a request pays in Django")
    environment = dict(os.environ, SESSILE_SERVER_BIN=str(place / "sessile"))
    command = [python, "tools/measure_sessions.py", "--json", str(out / "sessions.json")]
    if subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode:
        raise SetupError("measuring Django failed, see above")


def main() -> int:
    """Does what the first argument names."""
    what, more = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if what not in TERMS:
        print("usage: bench.py bench|guide [OPTIONS OF sessile-bench compare]", file=sys.stderr)
        return 2
    out = ROOT / "build" / what
    try:
        place = build()
        compare(place, what, out, more)
        if what == "guide":
            django(place, out)
    except (SetupError, StartError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"see {(out / 'report.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
