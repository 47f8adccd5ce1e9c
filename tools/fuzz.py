"""Fuzzes everything that has a target in fuzz/, each for some time, and says how it went.

`make fuzz SECONDS=600`, or `fuzz.py --seconds 600 [TARGET ...]`. The targets are built with
libFuzzer as the crate libfuzzer-sys brings it (a C++ compiler is needed, cargo-fuzz isn't),
counting edges and comparisons, with debug assertions. A target starts from what stands in
fuzz/corpus/NAME, which is left alone: new inputs go to build/fuzz/NAME/corpus, and are taken up by
the next run. What crashes, hangs or takes too much memory is kept in build/fuzz/NAME, with the log.
What always holds: the exit status is 0 only if every target ran its time and nothing was found.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from servers import ROOT, target_dir

CRATE = ROOT / "fuzz"
OUT = ROOT / "build/fuzz"
# What cargo-fuzz passes, too, but for the address sanitizer, which only a nightly compiler has.
FLAGS = (
    "--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module"
    " -Cllvm-args=-sanitizer-coverage-level=4"
    " -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    " -Cllvm-args=-sanitizer-coverage-pc-table"
    " -Cllvm-args=-sanitizer-coverage-trace-compares"
)
# An input that takes longer is a hang: seconds. A process that takes more is one, too: megabytes.
INPUT_SECONDS = 25
MEMORY_MB = 2048


@dataclass(frozen=True)
class Result:
    """How a target ended: whether nothing was found, how many inputs it ran, what it said."""

    name: str
    clean: bool
    runs: int
    said: str


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--seed", type=int, default=0, help="repeats a run's random numbers")
    parser.add_argument("target", nargs="*", help="only these")
    options = parser.parse_args()
    if options.seconds < 1:
        sys.exit("error: libFuzzer takes 0 seconds for no end")
    known = targets()
    unknown = [name for name in options.target if name not in known]
    if unknown:
        sys.exit(f"error: no target {unknown[0]!r}; there are {', '.join(known)}")
    folder = build()
    results = []
    for name in options.target or known:
        print(f"-- {name}: {options.seconds} s", flush=True)
        results.append(fuzz(folder / name, options.seconds, options.seed))
        print(f"   {results[-1].said}", flush=True)
    return report(results, options.seconds)


def targets() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem for path in (CRATE / "fuzz_targets").glob("*.rs"))


def build() -> Path:
    """Builds all targets; the folder that they are in."""
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    triple = re.search(r"^host: (\S+)$", host, re.MULTILINE)
    if not triple:
        sys.exit("error: rustc doesn't say what it builds for")
    into = target_dir() / "fuzz"
    # With a target named, build scripts are built without these flags.
    command = ["cargo", "build", "--release", "--locked", "--target", triple[1]]
    command += ["--manifest-path", str(CRATE / "Cargo.toml"), "--target-dir", str(into)]
    environment = dict(os.environ, RUSTFLAGS=FLAGS)
    if subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode:
        sys.exit("error: the targets don't build, see above")
    return into / triple[1] / "release"


def fuzz(program: Path, seconds: int, seed: int) -> Result:
    """Runs one target for so long."""
    name = program.name
    out = OUT / name
    corpus = out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    known = [str(CRATE / "corpus" / name)] if (CRATE / "corpus" / name).is_dir() else []
    command = [str(program), f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}"]
    command += [f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={out}/", "-print_final_stats=1"]
    command += [f"-seed={seed}", str(corpus), *known]
    log = out / "log"
    with log.open("wb") as sink:
        status = subprocess.run(command, stdout=sink, stderr=sink, cwd=ROOT, check=False).returncode
    text = log.read_text(errors="replace")
    runs = re.findall(r"^stat::number_of_executed_units:\s+(\d+)", text, re.MULTILINE)
    done = int(runs[-1]) if runs else 0
    if status == 0 and done:
        covered = re.findall(r"cov: (\d+)", text)
        return Result(name, True, done, f"{done} inputs, {covered[-1] if covered else '?'} edges")
    kept = re.findall(r"Test unit written to (\S+)", text)
    what = f"found {kept[-1]}" if kept else f"ended with status {status}"
    return Result(name, False, done, f"{what}, see {log}")


def report(results: list[Result], seconds: int) -> int:
    """The closing table, and the exit status."""
    print(f"\nmake fuzz, {seconds} s each:")
    for result in results:
        print(f"  {'ok  ' if result.clean else 'FAIL'} {result.name:<15} {result.said}")
    found = [result.name for result in results if not result.clean]
    print(f"{len(results) - len(found)} of {len(results)} targets clean", end="")
    print(f"; not: {', '.join(found)}" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    if sys.version_info < (3, 10):
        sys.exit("error: Python 3.10 or newer is needed: make fuzz PYTHON=python3.x")
    if not shutil.which("cargo"):
        sys.exit("error: cargo is not installed")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nerror: stopped")
