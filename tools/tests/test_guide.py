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
REPORT = "docs/measurements/2026-11-23-guide/report.md"
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
    rounds = [{"closed": {"rate": rate, "server_us": 2.0}} for rate in (100.0, 900.0, 300.0)]
    rounds[0]["open"] = {"quantiles": [[0.5, 0.25], [0.99, 1.5]]}
    rows = [{"target": "a string", "rounds": rounds}, {"target": "b string", "rounds": rounds[:1]}]
    raw = {
        "targets": [{"name": "a string", "server": "a"}, {"name": "b string", "server": "b"}],
        "workloads": [{"name": "shop", "title": "A shop, busy", "rows": rows}],
    }
    targets = {"x on y://": {"load": {"p50": 12.34}}}
    signing_in = {"z": {"sign-in": {"p99": 5.0}}}
    files = {"raw": raw, "sessions": {"targets": targets}, "claims": {"c": {"d": 7}}}
    files |= {"flask": {"targets": signing_in}, "facts": {}}
    for name, what in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(what))
    template = (
        "<!-- run: docs/r -->\n{{shop: a string: throughput}} {{shop: a string: p99}} "
        "{{shop: a string: throughput / shop: b string: throughput}} {{best shop: a: throughput}} "
        "{{sessions: x on y://: load p50}} {{claims: c > d}} {{flask: z: sign-in p99}}"
    )
    assert guide.filled(template, lambda _: tmp_path) == (
        "[300/s](r/report.md#a-shop-busy) [1.50 ms](r/report.md#a-shop-busy) "
        "[3.00](r/report.md#a-shop-busy) [300/s](r/report.md#a-shop-busy) "
        "[12.3 µs](r/sessions.json) [7.00](r/claims.json) [5.00 µs](r/flask.json)"
    )
    for wrong in ("shop: c string: p99", "shop: b string: p99.9", "shop: a string: x", "claims: e"):
        with pytest.raises(guide.GuideError):
            guide.filled(f"<!-- run: docs/r -->\n{{{{{wrong}}}}}", lambda _: tmp_path)
