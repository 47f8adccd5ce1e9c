"""Makes docs/guide.md from tools/guide.md.in and one committed run.

    python tools/guide.py [--check]
    python tools/guide.py --run docs/measurements/DATE-guide

The second way moves the guide to another run: it copies build/guide/ to that folder if the folder
isn't there, names it in the template's first line, and makes the page. `--check` says whether the
guide is what it would be.

In the template, `{{...}}` stands for something measured, and becomes a number that links to its
run. Its figures, units, and which way is better are those of the report (figures.json):
`{{WORKLOAD: TARGET: FIGURE}}` is the median over the rounds, `{{best WORKLOAD: SERVER: FIGURE}}`
the best of a server's ways of storing, `{{count: worse}}` how many figures have that verdict, and
`{{terms WORKLOAD: sessions}}` a number of its terms. `{{sessions: TARGET: load p50}}` is what a
request pays in Django, `{{flask: TARGET: read p50}}` in Flask, `{{table flask}}` all of them with
their spread, `{{claims: a > b > c}}` a value of claims.json. `X / Y` in one pair of braces is their
ratio, `{{run}}` the folder. A name that isn't there is an error.

Standard library only.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "tools" / "guide.md.in"
GUIDE = ROOT / "docs" / "guide.md"
RUN = re.compile(r"^<!-- run: (\S+) -->\n")
BRACES = re.compile(r"\{\{([^{}]+)\}\}")


class GuideError(Exception):
    """Something that the template names isn't there."""


class Found(NamedTuple):
    """A number, its unit, and the file and place that it's from."""

    value: float
    unit: str
    place: str


class Run:
    """The numbers of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("raw", "figures", "sessions", "flask", "claims", "facts")
        if not (folder / "figures.json").exists():
            raise GuideError(f"no {folder}/figures.json: `sessile-bench report {folder}/raw.json`")
        read = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}
        self.raw, self.facts, self.claims = read["raw"], read["facts"], read["claims"]
        self.figures = read["figures"]
        self.about = {one["short"]: one for one in self.figures["figures"]}
        self.frameworks = {name: read[name] for name in ("sessions", "flask")}

    def number(self, name: str) -> Found:
        """What a name stands for."""
        if name.startswith("best "):
            return self.best(name.removeprefix("best "))
        where, _, rest = name.partition(": ")
        if where == "count":
            return self.count(rest)
        if where.startswith("terms "):
            return self.term(where.removeprefix("terms "), rest)
        if where in self.frameworks:
            target, _, figure = rest.rpartition(": ")
            what, _, part = figure.rpartition(" ")
            path = ["targets", target, what, part]
            return Found(self.path(self.frameworks[where], path), "µs", f"{where}.json")
        if where == "claims":
            return Found(self.path(self.claims, rest.split(" > ")), "", "claims.json")
        target, _, figure = rest.partition(": ")
        return self.figure(where, target, figure)

    def table(self, where: str, link: Path) -> str:
        """What requests pay in a framework: the median of each way, its rounds' spread."""
        targets = self.frameworks[where]["targets"]
        operations = list(next(iter(targets.values())))
        lines = [f"| | {' | '.join(name.replace('_', ' ') for name in operations)} |"]
        lines.append("|---" * (len(operations) + 1) + "|")
        for target, by in targets.items():
            cells = []
            for operation in operations:
                if "rounds" not in by.get(operation, {}):
                    raise GuideError(f"{where}.json has no rounds of {target}: {operation}")
                middle, rounds = told(by[operation]["p50"], "µs"), by[operation]["rounds"]
                span = f"{told(min(rounds), '')} to {told(max(rounds), '')}"
                cells.append(f"[{middle} ({span})]({link}/{where}.json)")
            lines.append(f"| {target} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def figure(self, workload: str, target: str, figure: str) -> Found:
        if figure not in self.about:
            raise GuideError(f"no figure {figure!r}; there are {', '.join(self.about)}")
        rows = self.figures["workloads"].get(self.workload(workload)["name"], {})
        if target not in rows:
            raise GuideError(f"{workload} has no target {target!r}; there are {', '.join(rows)}")
        if figure not in rows[target]:
            raise GuideError(f"{workload}: {target}: {figure} wasn't measured")
        unit = self.about[figure]["unit"] or "%"
        place = f"report.md#{self.anchor(workload)}"
        return Found(statistics.median(rows[target][figure]), unit, place)

    def best(self, name: str) -> Found:
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
        return (max if self.about[figure]["better"] == "more" else min)(found)

    def count(self, verdict: str) -> Found:
        """How many figures have that verdict; all of them for "all"."""
        verdicts = [one["verdict"] for one in self.figures["standings"]]
        many = len(verdicts) if verdict == "all" else verdicts.count(verdict)
        return Found(many, "", "report.md#sessile-beside-the-best-rival")

    def term(self, workload: str, what: str) -> Found:
        """The number before that word in a workload's terms."""
        for term in self.workload(workload)["terms"]:
            if words := re.match(rf"([\d\xa0]+) {what}\b", term):
                number = float(words[1].replace("\xa0", ""))
                return Found(number, "", f"report.md#{self.anchor(workload)}")
        raise GuideError(f"the terms of {workload} don't say how many {what}")

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
        return statistics.median(tree) if isinstance(tree, list) else float(tree)


def told(value: float, unit: str) -> str:
    """A number with three digits that count."""
    if unit == "%":
        return f"{value * 100:.1f} %"
    size = abs(value)
    whole = not unit and float(value).is_integer()
    places = 0 if size >= 100 or size == 0 or whole else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:,.{places}f}".replace(",", " ")
    return f"{text} {unit}" if unit else text


def filled(template: str, folder_of: Callable[[str], Path] = lambda name: ROOT / name) -> str:
    """The guide. Raises GuideError."""
    begins = RUN.match(template)
    if begins is None:
        raise GuideError("the template doesn't say of which run it is")
    run = Run(folder_of(begins[1]))
    link = Path(begins[1]).relative_to("docs")

    def put(braces: re.Match[str]) -> str:
        name = " ".join(braces[1].split())
        if name == "run":
            return str(link)
        if name.startswith("table "):
            return run.table(name.removeprefix("table "), link)
        parts = [run.number(part) for part in name.split(" / ")]
        value, unit, place = parts[0]
        if len(parts) == 2:
            value, unit = value / parts[1][0], ""
            return f"[{value:.2f}]({link}/{place})"
        return f"[{told(value, unit)}]({link}/{place})"

    return BRACES.sub(put, template[begins.end() :])


def move(folder: Path) -> None:
    """Names another run in the template; copies it from build/guide/ if it isn't there."""
    folder = folder.resolve().relative_to(ROOT)
    if not (ROOT / folder).exists():
        shutil.copytree(ROOT / "build/guide", ROOT / folder)
    template = TEMPLATE.read_text()
    TEMPLATE.write_text(RUN.sub(f"<!-- run: {folder} -->\n", template, count=1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="say whether it is what it would be")
    parser.add_argument("--run", type=Path, help="the folder of another run")
    options = parser.parse_args()
    try:
        if options.run:
            move(options.run)
        text = filled(TEMPLATE.read_text())
    except (GuideError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.check:
        if GUIDE.read_text() == text:
            return 0
        print("error: docs/guide.md isn't what `python tools/guide.py` makes", file=sys.stderr)
        return 1
    GUIDE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
