"""Ctrl-C in the middle of a comparison, and what `report` leaves alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The first one builds the program.
pytestmark = pytest.mark.timeout(900)
RAW = Path(__file__).with_name("raw.json")
STEADY = """title = T
about = A
sessions = 1000
bytes = 300..600
idle = 1h
slide = yes
popularity = uniform
mix = load 3, change 1
connections = 4
rate = 500
memory = 64mb
warm-up = 100ms
length = {length}
"""


@pytest.fixture(scope="module")
def program() -> Path:
    """The load generator, built."""
    command = ["cargo", "build", "-q", "--locked", "--profile", "quick", "-p", "sessile-bench"]
    subprocess.run(command, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return (ROOT / target).resolve() / "quick" / "sessile-bench"


def children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_what_was_measured_is_kept_and_no_server_is_left(program, tmp_path, which):
    (tmp_path / "short.txt").write_text(STEADY.format(length="100ms"))
    # Nobody waits for the end of this one.
    (tmp_path / "endless.txt").write_text(STEADY.format(length="50m"))
    command = [program, "compare", "--workloads", "short.txt,endless.txt", "--rounds", "1"]
    command += ["--targets", "redis string", "--out", "out"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    bench = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    told = b""
    while b"endless" not in told:
        told += os.read(bench.stderr.fileno(), 1000)
        assert bench.poll() is None, told
    while not (servers := children(bench.pid)):
        assert bench.poll() is None
    bench.send_signal(which)
    _, rest = bench.communicate(timeout=300)
    assert bench.returncode == 1
    assert "error: interrupted: 1 of 2 measurements" in rest
    assert not any(map(is_alive, servers))
    assert not list(tmp_path.glob("sessile-bench-*"))
    raw = json.loads((tmp_path / "out/raw.json").read_text())
    assert raw["interrupted"] == [1, 2]
    assert [workload["name"] for workload in raw["workloads"]] == ["short"]
    assert "1 of 2 measurements were made" in (tmp_path / "out/report.md").read_text()


def test_a_report_made_again_leaves_its_numbers_as_they_are(program, tmp_path):
    raw = tmp_path / "raw.json"
    # As another program would write it.
    raw.write_text(json.dumps(json.loads(RAW.read_text()), indent=1))
    before = raw.read_bytes()
    subprocess.run([program, "report", raw], check=True, stdout=subprocess.DEVNULL)
    assert raw.read_bytes() == before
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"raw.json", "figures.json", "report.html", "report.md"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("compare --rounds 0", "--rounds 0: not a whole number from 1 to 100"),
        ("compare --threads -1", "--threads -1: not a whole number from 1 to 1024"),
        ("compare --scale 0", "--scale 0: not a number from 0.01 to 1000"),
        ("compare --sessile /no/such", "--sessile /no/such: no such file"),
        ("compare --only-attached", "--only-attached: no --attach names a server"),
        ("run string@127.0.0.1:1 --rate 0", "--rate 0: not a number of operations per second"),
        ("run string@127.0.0.1:1 --length 0s", "--length 0s: not a time such as 5s, 3600 s"),
        ("run string@127.0.0.1:1", "127.0.0.1:1: Connection refused"),
        ("report {raw}", "raw.json: missing field `program`"),
    ],
)
def test_what_is_wrong_is_named(program, tmp_path, arguments, error):
    raw = tmp_path / "raw.json"
    raw.write_text("{}")
    words = arguments.format(raw=raw).split()
    done = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1
