"""Plays a round: sends its requests as the tabs of one browser would, and keeps what was answered.

All clients share one cookie. Who is refused because the id was replaced (400, 409, or nobody's
session) sends the request again once the browser has the new cookie, as people do.
What always holds: a client sends its next request when the last one was answered; an answer that
brings back an id that was replaced, or takes the cookie away without a sign-out, is counted and
otherwise ignored.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import asdict, dataclass, field
from threading import Condition, Thread
from typing import Any

from lost.plans import Request, Round

__all__ = ["History", "Sent", "Site", "play"]

TRIES = 12
"""How often a request is sent, at most."""
PATIENCE = 30.0
"""Seconds until an answer has to come, or a new cookie."""


@dataclass
class Sent:
    """A request that was sent, and its answer. Moments are of the clock of this process."""

    request: Request
    began: float
    ended: float = 0.0
    status: int = 0
    """0 if no answer came."""
    seen: dict[str, Any] | None = None
    """The session as it was loaded; `None` for nobody's."""
    met: bool | None = None
    """Whether those came whom it had to meet; `None` if it had to meet nobody."""
    loaded: int | None = None
    saved: int | None = None
    """Versions, where the engine has them."""
    error: str = ""

    @property
    def done(self) -> bool:
        """Whether the app said that it did what was asked."""
        return self.status == 200 and self.seen is not None

    @property
    def unknown(self) -> bool:
        """Whether nobody knows what was done."""
        return self.status == 0 or self.status >= 500


@dataclass
class History:
    """What became of a round."""

    round: Round
    sent: list[Sent] = field(default_factory=list)
    """Before the sign-out, the first request first."""
    last: list[Sent] = field(default_factory=list)
    """With the sign-out among them."""
    document: dict[str, Any] = field(default_factory=dict)
    """The session before those."""
    afterwards: list[dict[str, Any]] = field(default_factory=list)
    """What every id that the browser ever had shows after the sign-out."""
    cookies_back: int = 0
    given_up: int = 0
    """Requests that were refused for good."""

    def told(self) -> str:
        """All of it as JSON, for whoever wants to know why."""
        rows = []
        for sent in sorted(self.sent + self.last, key=lambda sent: sent.began):
            row = asdict(sent)
            request = row.pop("request")
            rows.append({"steps": request["steps"], "meeting": request["meeting"], **row})
        whole = {"sent": rows, "document": self.document, "afterwards": self.afterwards}
        return json.dumps({"round": self.round.token, **whole}, indent=1) + "\n"


class Site:
    """Connections to the app, one for each client."""

    def __init__(self, port: int, clients: int) -> None:
        self.links = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE) for _ in range(clients)
        ]

    def ask(self, client: int, method: str, path: str, cookie: str, body: Any = None) -> Any:
        """Status, headers and JSON of an answer. Raises OSError and HTTPException."""
        link = self.links[client]
        headers = {"Cookie": cookie} if cookie else {}
        try:
            link.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = link.getresponse()
            text = answer.read()
        except BaseException:
            link.close()
            raise
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(text) if is_json else {}

    def close(self) -> None:
        for link in self.links:
            link.close()


class Browser:
    """The cookie that all clients share."""

    def __init__(self) -> None:
        self.cookie = ""
        self.known: list[str] = []
        self.back = 0
        self.renewing = 0
        self.changed = Condition()

    def hear(self, used: str, header: str | None, *, expected: bool) -> None:
        """Takes what an answer says of the cookie. `expected`: this request was to renew it."""
        told = (header or "").partition(";")[0]
        with self.changed:
            if told and told != self.cookie:
                replaced = told in self.known or not told.partition("=")[2].strip('"')
                if replaced or (self.cookie and not expected):
                    self.back += 1
                elif used == self.cookie:
                    self.cookie = told
                if not replaced:
                    self.known.append(told)
            self.changed.notify_all()

    def renewed(self, used: str) -> bool:
        """Whether there is another cookie by now, or comes from a request under way."""
        with self.changed:
            self.changed.wait_for(lambda: self.cookie != used or not self.renewing, PATIENCE)
            return self.cookie != used


class Player:
    """Plays one round on a site."""

    def __init__(self, site: Site, round: Round) -> None:
        self.site = site
        self.history = History(round)
        self.browser = Browser()

    def play(self) -> History:
        history, browser = self.history, self.browser
        plan = history.round
        self.send(0, plan.birth, history.sent, first=True)
        together([(self.client, c, requests) for c, requests in enumerate(plan.clients)])
        history.document = self.read(browser.cookie)
        history.cookies_back = browser.back
        cookie = browser.cookie
        together([(self.end, c, request, cookie) for c, request in enumerate(plan.ending)])
        history.afterwards = [self.read(cookie) for cookie in browser.known]
        return history

    def client(self, number: int, requests: list[Request]) -> None:
        for request in requests:
            self.submit(number, request, self.history.sent)

    def submit(self, number: int, request: Request, into: list[Sent]) -> None:
        """Sends a request until it's done, or nothing more can be hoped for."""
        for _ in range(TRIES):
            sent, used = self.send(number, request, into)
            if sent.done or sent.unknown:
                return
            if not self.browser.renewed(used):
                break
            request = Request(request.steps)
        self.history.given_up += 1

    def end(self, number: int, request: Request, cookie: str) -> None:
        """One last request; the sign-out is sent again until it's done."""
        if request.has("end"):
            self.submit(number, request, self.history.last)
        else:
            self.send(number, request, self.history.last, cookie=cookie)

    def send(
        self,
        number: int,
        request: Request,
        into: list[Sent],
        *,
        first: bool = False,
        cookie: str | None = None,
    ) -> tuple[Sent, str]:
        """Sends a request once; what came of it, and the cookie that it carried."""
        browser, renews = self.browser, request.has("rotate")
        with browser.changed:
            used = browser.cookie if cookie is None else cookie
            browser.renewing += renews
        body = {"steps": request.steps, "meet": request.meeting, "first": first}
        sent = Sent(request, time.monotonic())
        header = None
        try:
            sent.status, headers, said = self.site.ask(number, "POST", "/step", used, body)
            header = session_cookie(headers.get_all("Set-Cookie", []))
            sent.seen = said.get("seen")
            visit = json.loads(headers.get("Visit") or "[null, null, null]")
            sent.met = bool(visit[0]) if request.meeting else None
            sent.loaded, sent.saved = visit[1:]
        except (OSError, http.client.HTTPException, ValueError) as error:
            sent.error = f"{type(error).__name__}: {error}"
        sent.ended = time.monotonic()
        into.append(sent)
        browser.hear(used, header, expected=first or renews)
        with browser.changed:
            browser.renewing -= renews
            browser.changed.notify_all()
        return sent, used

    def read(self, cookie: str) -> dict[str, Any]:
        """What an id shows."""
        status, _, document = self.site.ask(0, "GET", "/read", cookie)
        if status != 200 or not isinstance(document, dict):
            raise OSError(f"/read: {status}")
        return document


def session_cookie(headers: list[str]) -> str | None:
    """What an answer says of the session's cookie; Django has one against forgery as well."""
    return next((header for header in headers if not header.startswith("csrftoken=")), None)


def play(site: Site, round: Round) -> History:
    """Plays a round from its first request to the reads after its sign-out."""
    return Player(site, round).play()


def together(calls: list[Any]) -> None:
    """Calls all at the same time; raises what one of them raised."""
    failed: list[BaseException] = []

    def one(function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=one, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
