"""Workers of gunicorn that are replaced in turn, and users who go on meanwhile.

A `Site` is a gunicorn whose workers are old or new ones (rolling_app.py): the socket stays, a
worker is told to end, finishes its request, and another one takes its place. A `User` is a thread
with a cookie, which sends one request after the other (or some at once that only look) and knows
what each answer must be. What always holds: nothing is waited for by time alone.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers import free_port

HERE = Path(__file__).resolve().parent
WORKERS = 2
PATIENCE = 180.0
"""Seconds after which what doesn't come counts as missing."""
KEPT = 6
"""Ended ids that a user tries again."""
ACTS = ("hit", "hit", "hit", "hit", "read", "page", "renew", "sign_out", "try_old", "try_old")


def wait_for(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


class Site:
    """A gunicorn with WORKERS workers."""

    def __init__(self, folder: Path, app: str, old: str, url: str) -> None:
        self.folder, self.app, self.port = folder, app, free_port()
        (folder / "workers").mkdir()
        self.environment = dict(
            os.environ,
            ROLL_FOLDER=str(folder),
            ROLL_APP=app,
            ROLL_OLD=old,
            ROLL_URL=url,
            PYTHONPATH=os.pathsep.join([str(HERE), str(HERE.parent / "src")]),
            DJANGO_SETTINGS_MODULE="",
        )

    def start(self) -> None:
        """Starts it with old workers."""
        (self.folder / "way").write_text("old")
        if "cached_db" in self.app:
            code = "import rolling_app; rolling_app.django()"
            code += "; from django.core.management import call_command"
            code += "; call_command('migrate', verbosity=0)"
            subprocess.run([sys.executable, "-c", code], env=self.environment, check=True)
        command = [sys.executable, "-m", "gunicorn", "rolling_app:application()"]
        command += ["--bind", f"127.0.0.1:{self.port}", "--workers", str(WORKERS)]
        command += ["--timeout", "120", "--graceful-timeout", "60", "--log-level", "warning"]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.settle({"old": WORKERS})

    def ways(self) -> dict[int, str]:
        """The workers that are ready, and the way of each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        ready = {int(pid): self.folder / "workers" / pid for pid in children.split()}
        return {pid: file.read_text() for pid, file in ready.items() if file.exists()}

    def settle(self, wanted: dict[str, int]) -> None:
        """Waits until there are as many workers of each way."""
        wait_for(lambda: Counter(self.ways().values()) == Counter(wanted), self.log)

    def replace_one(self, way: str) -> bool:
        """Puts a worker of this way in the place of another; False if there is no other."""
        (self.folder / "way").write_text(way)
        before = self.ways()
        others = [pid for pid, its in before.items() if its != way]
        if not others:
            return False
        os.kill(others[0], signal.SIGTERM)
        left = Counter(its for pid, its in before.items() if pid != others[0])
        self.settle(left + Counter({way: 1}))
        return True

    def log(self) -> str:
        return (self.folder / "log").read_text()[-4000:]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@dataclass
class User:
    """Somebody with a browser. `wrong` says what an answer was that it mustn't be."""

    name: str
    port: int
    chance: random.Random
    cookie: str = ""
    count: int = 0
    ended: list[str] = field(default_factory=list)
    done: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    trail: list[str] = field(default_factory=list)

    def act(self) -> None:
        """One thing that people do."""
        what = self.chance.choice(ACTS) if self.cookie else "sign_in"
        if what == "try_old" and self.ended:
            self.try_old(self.chance.choice(self.ended))
        elif what == "page":
            with ThreadPoolExecutor(3) as pool:
                for answer in pool.map(self.ask, ["read"] * 3):
                    self.check("page", answer)
        else:
            self.go("hit" if what == "try_old" else what)
        self.done += 1
        self.seen[what] += 1

    def go(self, page: str) -> None:
        before = self.cookie
        answer = self.ask(f"{page}?name={self.name}")
        self.count = 0 if page == "sign_in" else self.count + (page == "hit")
        self.cookie = answer["cookie"]
        if page == "sign_out":
            self.cookie, self.count = "", 0
            if answer["user"] is not None:
                self.wrong.append(f"not signed out: {self.told()}")
        else:
            self.check(page, answer)
        if before and before != self.cookie:
            self.ended = [*self.ended, before][-KEPT:]

    def check(self, page: str, answer: dict[str, Any]) -> None:
        expected = {"user": self.name, "count": self.count}
        got = {"user": answer["user"], "count": answer["count"]}
        if got != expected:
            self.wrong.append(f"{page}: {got} instead of {expected}: {self.told()}")
            if got["user"] is None:
                self.cookie = ""
            self.count = got["count"] or 0

    def try_old(self, cookie: str) -> None:
        """An id that was renewed or signed out opens nothing, whoever serves it."""
        answer = self.ask("read", cookie)
        if answer["user"] is not None:
            self.wrong.append(f"an old id opened {answer}: {self.told()}")

    def ask(self, path: str, cookie: str | None = None) -> dict[str, Any]:
        """An answer, with the cookie that the browser has then."""
        cookie = self.cookie if cookie is None else cookie
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            link.request("GET", f"/{path}", headers={"Cookie": cookie} if cookie else {})
            answer = link.getresponse()
            text = answer.read()
            assert answer.status == 200, f"{path}: {answer.status} {text[:200]!r}"
            told = [header.partition(";")[0] for header in answer.headers.get_all("Set-Cookie", [])]
        finally:
            link.close()
        found: dict[str, Any] = json.loads(text)
        found["cookie"] = told[-1] if told else cookie
        self.served[found["way"]] += 1
        self.trail.append(f"{path.partition('?')[0]} ({found['way']})")
        return found

    def told(self) -> str:
        return " > ".join(self.trail[-8:])


class Crowd:
    """Users who are at it, each in a thread."""

    def __init__(self, port: int, seed: int, size: int) -> None:
        self.users = [User(f"user{n}", port, random.Random(f"{seed}/{n}")) for n in range(size)]
        self.failed: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self.live, args=(one,)) for one in self.users]

    def live(self, user: User) -> None:
        try:
            while not self._stop.is_set():
                user.act()
        except BaseException as error:
            self.failed.append(error)

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def visit(self, times: int) -> None:
        """Waits until each user has done so many more things."""
        goals = [user.done + times for user in self.users]

        def reached() -> bool:
            users = zip(self.users, goals, strict=True)
            return bool(self.failed) or all(user.done >= goal for user, goal in users)

        wait_for(reached, lambda: f"users did {[user.done for user in self.users]}")
        if self.failed:
            raise self.failed[0]

    def wrong(self) -> list[str]:
        return [word for user in self.users for word in user.wrong]
