"""Where a visitor is signed in, as the page shows it: the user's sessions, with readable names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from django.http import HttpRequest

from sessile.django import devices

AGENTS = ("Firefox", "Edg", "OPR", "Chrome", "Safari", "curl", "Python")
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "Linux")


@dataclass(frozen=True)
class Row:
    """One signed-in session. `handle` names it and opens nothing."""

    handle: str
    agent: str
    seen: datetime
    current: bool

    @property
    def idle(self) -> int:
        """Whole seconds since the session was last saved."""
        return max(0, int((datetime.now(timezone.utc) - self.seen).total_seconds()))


def listed(request: HttpRequest) -> list[Row]:
    """The user's live sessions, this one first, then the newest."""
    found = devices.devices(request.user, request)
    rows = [Row(one.handle, agent(one.name), one.last_seen, one.current) for one in found]
    return sorted(rows, key=lambda row: not row.current)


def end(request: HttpRequest, wanted: str) -> int:
    """Ends one of the user's sessions, all `others`, or `all`, this one too; how many."""
    if wanted == "all":
        return devices.end_devices(request.user)
    if wanted == "others":
        return devices.end_devices(request.user, keep=request)
    return int(devices.end_device(request.user, wanted))


def agent(header: str) -> str:
    """A browser and a system, as far as the header tells."""
    browser = next((name for name in AGENTS if name in header), "Unknown browser")
    system = next((name for name in SYSTEMS if name in header), "")
    names = {"Edg": "Edge", "OPR": "Opera", "Macintosh": "macOS"}
    browser, system = names.get(browser, browser), names.get(system, system)
    return f"{browser} on {system}" if system else browser
