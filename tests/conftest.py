"""What tests of different folders share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window (Debian: chromium; CHROMIUM names another)."""
    from playwright.sync_api import sync_playwright

    chosen = os.environ.get("CHROMIUM")
    program = chosen or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.fail("no Chromium: apt-get install chromium, or name one in CHROMIUM")
    with sync_playwright() as driver:
        # Its sandbox needs privileges that a container hasn't, and it sees no page but ours.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
