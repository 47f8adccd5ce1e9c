"""The report of a comparison in a real browser: legible, light and dark, and asking nobody.

raw.json is of a short run; its numbers are nobody's measurement. Needs Chromium (Debian: chromium;
CHROMIUM names another). SCREENSHOTS names a folder to keep the pictures in.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
# The first one builds the program.
pytestmark = pytest.mark.timeout(900)
RAW = Path(__file__).with_name("raw.json")
OVERLAPS = """() => {
    const found = [];
    for (const svg of document.querySelectorAll("svg")) {
        const boxes = [...svg.querySelectorAll("text")].map(
            text => [text.textContent, text.getBoundingClientRect()]);
        const frame = svg.getBoundingClientRect();
        for (const [text, box] of boxes)
            if (box.left < frame.left - 1 || box.right > frame.right + 1)
                found.push(`${text} leaves its plot`);
        boxes.forEach(([one, a], at) => boxes.slice(at + 1).forEach(([other, b]) => {
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 1 && high > 3) found.push(`${one} over ${other}`);
        }));
    }
    return found;
}"""

CUT = """() => {
    const found = [];
    for (const cell of document.querySelectorAll("table.summary :is(th, td)")) {
        const box = cell.getBoundingClientRect();
        if (box.right > innerWidth || cell.scrollWidth > cell.clientWidth + 1)
            found.push(cell.textContent);
    }
    for (const detail of document.querySelectorAll("details")) detail.open = true;
    for (const table of document.querySelectorAll("table:not(.summary)")) {
        const scrolls = getComputedStyle(table.parentElement).overflowX === "auto";
        if (table.getBoundingClientRect().right > innerWidth && !scrolls)
            found.push(table.textContent.slice(0, 40));
    }
    return found;
}"""
"""What nobody can read: cells of the summary off the screen, other tables that don't scroll."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    command = ["cargo", "run", "-q", "--locked", "--profile", "quick", "-p", "sessile-bench", "--"]
    subprocess.run([*command, "report", str(RAW), "--out", str(folder)], cwd=ROOT, check=True)
    return folder / "report.html"


def opened(browser: Browser, report: Path, scheme: str, width: int) -> Page:
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True
    )
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert asked == [report.as_uri()], "one file, and nothing else"
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/report-{scheme}-{width}.png", full_page=True)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_legible(browser: Browser, report: Path, scheme: str, width: int) -> None:
    page = opened(browser, report, scheme, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(CUT) == []
    ground, ink = page.evaluate(
        """() => {
            const style = getComputedStyle(document.body);
            const light = color => color.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);
            return [light(style.backgroundColor), light(style.color)];
        }"""
    )
    assert (ground > ink) == (scheme == "light")
    assert abs(ground - ink) > 400
    page.context.close()


def test_every_workload_and_target_is_there(browser: Browser, report: Path) -> None:
    raw = json.loads(RAW.read_text())
    page = opened(browser, report, "light", 1280)
    for workload in raw["workloads"]:
        section = page.locator(f"section#{workload['name']}")
        assert section.locator("h2").inner_text() == workload["title"]
        measured = [row for row in workload["rows"] if row["rounds"]]
        bars = section.locator("figure").filter(has=page.locator("rect")).first
        assert bars.locator("rect").count() == len(measured)
        lines = section.locator("polyline").count()
        assert (lines > 0) == (workload["event"] != "steady")
        assert section.locator("svg .unit").count() >= section.locator("svg").count()
    page.context.close()
