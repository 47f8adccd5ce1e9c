"""The admin page in headless Chromium, under load: its plots get points, in light and in dark.

Needs Chromium (Debian: chromium; CHROMIUM names another). SCREENSHOTS names a folder to keep the
pictures in, to be looked at.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Page

from servers import Store, free_port

POINTS = 5
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A store under load, and where its page is."""
    http = free_port()
    cap = ["--maxmemory", "24mb", "--maxmemory-policy", "allkeys-lru"]
    with Store(extra=["--http-port", str(http), *cap]) as store:
        ended = threading.Event()
        busy = threading.Thread(target=load, args=(store.port, ended))
        busy.start()
        try:
            yield f"http://127.0.0.1:{http}/"
        finally:
            ended.set()
            busy.join()


def load(port: int, ended: threading.Event) -> None:
    """A few thousand requests a second, with keys that end and sessions that don't."""
    draw = random.Random(1)
    with redis.Redis(port=port) as client:
        while not ended.wait(0.01):
            with client.pipeline(transaction=False) as pipe:
                for _ in range(20):
                    key = f"session:{draw.getrandbits(64):016x}"
                    pipe.set(key, draw.randbytes(draw.randint(300, 900)), px=draw.randint(1, 3000))
                    pipe.get(key)
                pipe.execute_command("SESSION.CREATE", f"{draw.getrandbits(128):032x}", "IDLE", 600)
                pipe.execute()


def points(page: Page) -> dict[str, int]:
    """Of each plot how many points have all their numbers."""
    return page.evaluate(
        """() => Object.fromEntries(Object.entries(plots).map(([name, plot]) =>
            [name, plot.points.filter(([, values]) => !values.includes(null)).length]))"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_fill_under_load(browser: Browser, address: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    complaints, asked = [], set()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.add(request.url))
    page.goto(address)
    page.wait_for_function(
        f"""() => Object.values(plots).every((plot) =>
            plot.points.filter(([, values]) => !values.includes(null)).length >= {POINTS})""",
        timeout=WAIT_MS,
    )
    assert set(points(page)) == {"requests", "latency", "sessions", "memory", "lag", "ended"}
    assert page.text_content("#status") == "serving"
    assert not complaints
    assert asked == {address, f"{address}api/stats"}
    tiles = page.locator(".tile b").all_text_contents()
    assert "\u2013" not in tiles
    # Nothing is wider than the window, and the scheme is the one that was asked for.
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        # The page's own policy forbids expressions as text, so this is a function.
        page.wait_for_function("() => document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": 1280, "height": 1000})
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (shade == "rgb(18, 22, 28)") == (scheme == "dark")
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"admin-{scheme}.png", full_page=True)
    context.close()


def test_a_server_that_is_gone_is_told_of(browser: Browser) -> None:
    http = free_port()
    page = browser.new_context().new_page()
    with Store(extra=["--http-port", str(http)]):
        page.goto(f"http://127.0.0.1:{http}/")
        page.locator("#status", has_text="serving").wait_for()
    page.locator("#status", has_text="no answer").wait_for()
    page.context.close()
