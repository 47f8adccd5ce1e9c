"""The guide's numbers are those of its run, each of them traceable, and none was typed in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import guide

MEASURED = re.compile(r"\d[\d ,.]*\s?(?:ms|µs|us|bytes|MiB|/s|%)(?!\w)")
QUOTED = re.compile(r"“[^”]*”")
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
DIGITS = re.compile(r"\S*\d\S*")
BENCH = "crates/bench/workloads"
CLAIMS = "tools/measure_claims.py"
RUN = guide.RUN.match(guide.TEMPLATE.read_text())[1]
REPORT = f"{RUN}/report.md"
GIVEN = {
    "redis-server 7.0.15": (REPORT, "7.0.15"),
    "memcached 1.6.18": (REPORT, "1.6.18"),
    "at 5,000 operations a second": (f"{BENCH}/shop.txt", "rate        = 5000"),
    "with 32 connections": (f"{BENCH}/shop.txt", "connections = 32"),
    "sessions of 16 KB": (f"{BENCH}/large.txt", "bytes       = 15kb..17kb"),
    "100,000 sessions ending at once": (f"{BENCH}/expiry.txt", "expire 100000 at"),
    "| 1 KiB |": (CLAIMS, "SIZES = (1, 4, 16, 64)"),
    "| 4 KiB |": (CLAIMS, "SIZES = (1, 4, 16, 64)"),
    "| 64 KiB |": (CLAIMS, "SIZES = (1, 4, 16, 64)"),
    "to dump 4 KiB": (CLAIMS, "SIZES = (1, 4, 16, 64)"),
    "for 64 KiB": (CLAIMS, "SIZES = (1, 4, 16, 64)"),
}
"""Numbers that are no results, and the file and words that they are from."""
PERCENTILE = re.compile(r"\bp99\b|99th percentile")
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)(#[^)]*)?\)")


def test_the_guide_is_what_its_run_makes_it() -> None:
    assert guide.GUIDE.read_text() == guide.filled(guide.TEMPLATE.read_text())


def test_no_number_was_typed_in() -> None:
    """What was measured stands in braces, what others say in quotes, the rest in a list."""
    text = guide.BRACES.sub("", QUOTED.sub("", guide.TEMPLATE.read_text()))
    assert [found for found in MEASURED.findall(text) if found.strip()] == []
    prose = PERCENTILE.sub("", CODE.sub("", LINK.sub(r"\1", COMMENT.sub("", text))))
    for known, (file, words) in GIVEN.items():
        assert known in prose, f"no longer there: {known}"
        assert words in (guide.ROOT / file).read_text(), f"{file} doesn't say {words}"
        prose = prose.replace(known, "")
    assert DIGITS.findall(prose) == []


def test_figures_are_of_the_raw_rounds() -> None:
    raw = json.loads((guide.ROOT / RUN / "raw.json").read_text())
    figures = json.loads((guide.ROOT / RUN / "figures.json").read_text())["workloads"]
    checked = 0
    for workload in raw["workloads"]:
        for row in workload["rows"]:
            rates = [one["closed"]["rate"] for one in row["rounds"] if one["closed"]]
            told = figures[workload["name"]].get(row["target"], {}).get("ops/s", [])
            assert told == pytest.approx(rates)
            checked += len(rates)
    assert checked > 20


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    links = LINK.findall(guide.GUIDE.read_text())
    assert len(links) > 60
    for _, file, anchor in links:
        path = guide.GUIDE.parent / file
        assert path.is_file(), file
        if anchor:
            titles = re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE)
            known = {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor[1:] in known, anchor


def test_numbers_are_medians_of_the_raw_rounds(tmp_path: Path) -> None:
    figures = {
        "figures": [
            {"short": "ops/s", "unit": "ops/s", "better": "more"},
            {"short": "p99", "unit": "ms", "better": "less"},
            {"short": "kept", "unit": "", "better": "more"},
        ],
        "workloads": {
            "shop": {
                "a string": {"ops/s": [100.0, 900.0, 300.0], "p99": [1.5], "kept": [0.5]},
                "a hash": {"ops/s": [200.0], "p99": [0.5]},
                "b string": {"ops/s": [100.0]},
            }
        },
        "standings": [{"verdict": "worse"}, {"verdict": "even"}, {"verdict": "worse"}],
    }
    servers = {"a string": "a", "a hash": "a", "b string": "b"}
    shop = {"name": "shop", "title": "A shop, busy", "terms": ["20\xa0000 sessions", "x"]}
    raw = {
        "targets": [{"name": name, "server": server} for name, server in servers.items()],
        "workloads": [shop],
    }
    targets = {"x on y://": {"load": {"p50": 12.34, "rounds": [12.0, 14.0, 11.0]}}}
    signing_in = {"z": {"sign-in": {"p99": 5.0}}}
    files = {"raw": raw, "sessions": {"targets": targets}, "claims": {"c": {"d": [9, 7, 1]}}}
    files |= {"flask": {"targets": signing_in}, "facts": {}, "figures": figures}
    for name, what in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(what))
    shop = "r/report.md#a-shop-busy"
    best = "r/report.md#sessile-beside-the-best-rival"
    for braces, made in {
        "shop: a string: ops/s": f"[300 ops/s]({shop})",
        "shop: a string: p99": f"[1.50 ms]({shop})",
        "shop: a string: kept": f"[50.0 %]({shop})",
        "shop: a string: ops/s / shop: b string: ops/s": f"[3.00]({shop})",
        "best shop: a: ops/s": f"[300 ops/s]({shop})",
        "best shop: a: p99": f"[0.500 ms]({shop})",
        "terms shop: sessions": f"[20 000]({shop})",
        "count: worse": f"[2]({best})",
        "count: all": f"[3]({best})",
        "count: better": f"[0]({best})",
        "sessions: x on y://: load p50": "[12.3 µs](r/sessions.json)",
        "flask: z: sign-in p99": "[5.00 µs](r/flask.json)",
        "claims: c > d": "[7](r/claims.json)",
        "run": "r",
        "table sessions": "| | load |\n|---|---|\n| x on y:// | "
        "[12.3 µs (11 to 14)](r/sessions.json) |",
    }.items():
        text = f"<!-- run: docs/r -->\n{{{{{braces}}}}}"
        assert guide.filled(text, lambda _: tmp_path) == made
    wrongs = ("shop: c string: p99", "shop: b string: kept", "shop: a string: x", "claims: e")
    for wrong in (*wrongs, "terms shop: connections", "table flask"):
        with pytest.raises(guide.GuideError):
            guide.filled(f"<!-- run: docs/r -->\n{{{{{wrong}}}}}", lambda _: tmp_path)
