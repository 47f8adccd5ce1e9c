"""Makes docs/guide.md from tools/guide.md.in and one committed run.

    python tools/guide.py [--check]

In the template, `{{...}}` stands for something measured, and becomes a number that links to its
run: `{{WORKLOAD: TARGET: FIGURE}}` the median over the rounds of raw.json, `{{sessions: TARGET:
load p50}}` what a request pays in Django, `{{flask: TARGET: read p50}}` in Flask, `{{claims: a > b
> c}}` a value of claims.json, `{{facts: commit}}` one of facts.json. `X / Y`
in one pair of braces is their ratio. `{{best WORKLOAD: SERVER: FIGURE}}` is the best of a server's
ways of storing. A name that isn't there is an error. `--check` says whether the guide is what it
would be.

Standard library only.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "tools" / "guide.md.in"
GUIDE = ROOT / "docs" / "guide.md"
RUN = re.compile(r"^<!-- run: (\S+) -->\n")
BRACES = re.compile(r"\{\{([^{}]+)\}\}")

Round = dict[str, Any]


def quantile(wanted: float) -> Callable[[Round], float | None]:
    """A latency of the open loop, in milliseconds."""

    def of(round_: Round) -> float | None:
        found = (round_.get("open") or {}).get("quantiles") or []
        return next((ms for q, ms in found if abs(q - wanted) < 1e-9), None)

    return of


def closed(name: str) -> Callable[[Round], float | None]:
    """A figure of the closed loop."""
    return lambda round_: (round_.get("closed") or {}).get(name)


def plain(name: str, scale: float = 1.0) -> Callable[[Round], float | None]:
    """A figure of a round."""

    def of(round_: Round) -> float | None:
        value = round_.get(name)
        return None if value is None else value * scale

    return of


FIGURES: dict[str, tuple[Callable[[Round], float | None], str, bool]] = {
    "throughput": (closed("rate"), "/s", True),
    "CPU": (closed("server_us"), "µs", False),
    "p50": (quantile(0.5), "ms", False),
    "p99": (quantile(0.99), "ms", False),
    "p99.9": (quantile(0.999), "ms", False),
    "memory": (plain("bytes_per_session"), "bytes", False),
    "items": (plain("items"), "", True),
    "fill": (plain("fill_rate"), "/s", True),
    "found": (closed("found"), "%", True),
    "event p99": (plain("event_p99_ms"), "ms", False),
    "event longest": (plain("event_most_ms"), "ms", False),
    "quiet p99": (plain("quiet_p99_ms"), "ms", False),
    "peak": (plain("peak", 2**-20), "MiB", False),
    "gone after": (plain("gone_after"), "s", False),
    "left": (plain("left_at_end"), "%", False),
    "back in": (plain("back_in"), "s", False),
    "kept": (plain("kept"), "%", True),
}
"""Where a figure of the report is found, its unit, and whether more of it is better."""


class GuideError(Exception):
    """Something that the template names isn't there."""


class Run:
    """The numbers of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("raw", "sessions", "flask", "claims", "facts")
        read = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}
        self.raw, self.facts, self.claims = read["raw"], read["facts"], read["claims"]
        self.frameworks = {name: read[name] for name in ("sessions", "flask")}

    def number(self, name: str) -> tuple[float, str, str]:
        """What a name stands for: value, unit, and the file and place that it's from."""
        if name.startswith("best "):
            return self.best(name.removeprefix("best "))
        where, _, rest = name.partition(": ")
        if where in self.frameworks:
            target, _, figure = rest.rpartition(": ")
            what, _, part = figure.rpartition(" ")
            path = ["targets", target, what, part]
            return self.path(self.frameworks[where], path), "µs", f"{where}.json"
        if where == "claims":
            return self.path(self.claims, rest.split(" > ")), "", "claims.json"
        target, _, figure = rest.partition(": ")
        return self.figure(where, target, figure)

    def figure(self, workload: str, target: str, figure: str) -> tuple[float, str, str]:
        if figure not in FIGURES:
            raise GuideError(f"no figure {figure!r}; there are {', '.join(FIGURES)}")
        of, unit, _ = FIGURES[figure]
        rows = {row["target"]: row for row in self.workload(workload)["rows"]}
        if target not in rows:
            raise GuideError(f"{workload} has no target {target!r}; there are {', '.join(rows)}")
        values = [value for value in map(of, rows[target]["rounds"]) if value is not None]
        if not values:
            raise GuideError(f"{workload}: {target}: {figure} wasn't measured")
        return statistics.median(values), unit, f"report.md#{self.anchor(workload)}"

    def best(self, name: str) -> tuple[float, str, str]:
        workload, server, figure = name.split(": ")
        names = [target["name"] for target in self.raw["targets"] if target["server"] == server]
        found = []
        for target in names:
            try:
                found.append(self.figure(workload, target, figure))
            except GuideError:
                continue
        if not found:
            raise GuideError(f"{workload}: nothing of {server} has {figure}")
        return (max if FIGURES[figure][2] else min)(found)

    def workload(self, name: str) -> dict[str, Any]:
        for workload in self.raw["workloads"]:
            if workload["name"] == name:
                return workload
        raise GuideError(f"no workload {name!r}")

    def anchor(self, workload: str) -> str:
        """Where the workload stands in report.md."""
        title = self.workload(workload)["title"].lower()
        return re.sub(r"[^a-z0-9 -]", "", title).replace(" ", "-")

    def path(self, tree: Any, names: list[str]) -> float:
        for name in names:
            if name not in tree:
                raise GuideError(f"no {name!r}; there are {', '.join(tree)}")
            tree = tree[name]
        return float(tree)


def told(value: float, unit: str) -> str:
    """A number with three digits that count."""
    if unit == "%":
        return f"{value * 100:.1f} %"
    size = abs(value)
    places = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:,.{places}f}".replace(",", " ")
    return text if not unit else f"{text}{unit}" if unit == "/s" else f"{text} {unit}"


def filled(template: str, folder_of: Callable[[str], Path] = lambda name: ROOT / name) -> str:
    """The guide. Raises GuideError."""
    begins = RUN.match(template)
    if begins is None:
        raise GuideError("the template doesn't say of which run it is")
    run = Run(folder_of(begins[1]))
    link = Path(begins[1]).relative_to("docs")

    def put(braces: re.Match[str]) -> str:
        parts = [run.number(part) for part in " ".join(braces[1].split()).split(" / ")]
        value, unit, place = parts[0]
        if len(parts) == 2:
            value, unit = value / parts[1][0], ""
            return f"[{value:.2f}]({link}/{place})"
        return f"[{told(value, unit)}]({link}/{place})"

    return BRACES.sub(put, template[begins.end() :])


def main() -> int:
    try:
        text = filled(TEMPLATE.read_text())
    except (GuideError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if "--check" in sys.argv:
        if GUIDE.read_text() == text:
            return 0
        print("error: docs/guide.md isn't what `python tools/guide.py` makes", file=sys.stderr)
        return 1
    GUIDE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
