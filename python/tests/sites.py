"""Apps of each framework on each kind of store, with the wire between them listened to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from frameworks import Browser, browser
from proxy import Meta, Parser, Proxy, Resp, counting
from stores import World

FRAMEWORKS = ["django", "flask", "quart", "starlette"]
PLACES = ["redis", "sessile", "memcached"]


class Heard:
    """A parser that keeps all that a client sent."""

    def __init__(self, into: bytearray, parser: Parser) -> None:
        self.into = into
        self.parser = parser

    def feed(self, data: bytes) -> list[str]:
        self.into += data
        return self.parser.feed(data)


@dataclass
class Place:
    """A store behind a proxy."""

    kind: str
    proxy: Proxy
    heard: bytearray
    """All that was sent to it."""

    def url(self, options: str = "timeout=5&pool_wait=5") -> str:
        return f"{self.kind}://127.0.0.1:{self.proxy.port}?{options}"

    def leave(self) -> None:
        """Nobody reaches the store any more."""
        self.proxy.refuse = True
        self.proxy.cut()


@dataclass
class Site:
    """An app, a browser, and the app's store."""

    browser: Browser
    framework: str
    place: Place

    def ask(self, path: str, id: str | None) -> Any:
        """What a browser with this cookie is answered; nothing is kept of it."""
        headers = {"Cookie": f"{self.browser.cookie_name}={id}"} if id else {}
        return self.browser.ask(f"/{path}", headers)

    def whose(self, id: str | None) -> str:
        """Whom a browser with this cookie is taken for; empty for nobody."""
        answer = self.ask("read", id)
        assert answer.status == 200, answer.text
        found = json.loads(answer.text)
        user = found.get("user" if self.framework == "django" else "_user_id", "")
        return "" if user == "AnonymousUser" else str(user)

    def id_after(self, path: str) -> str:
        """The id that a visit leaves the browser with."""
        assert self.browser.get(path).status == 200
        assert self.browser.id
        return self.browser.id


@contextmanager
def place_of(kind: str, world: World) -> Iterator[Place]:
    """A kind of store by its name."""
    if kind == "memcached":
        target = int(world.memcached()[0].rpartition(":")[2])
    else:
        target = world.redis().port if kind == "redis" else world.sessile().port
    heard, parser = bytearray(), Meta if kind == "memcached" else Resp
    with counting(target, parser=lambda: Heard(heard, parser())) as proxy:
        yield Place(kind, proxy, heard)


@contextmanager
def site_of(framework: str, place: Place, options: str = "", **settings: Any) -> Iterator[Site]:
    """An app of a framework on a store."""
    url = place.url(options) if options else place.url()
    with browser(framework, url, **settings) as found:
        yield Site(found, framework, place)
