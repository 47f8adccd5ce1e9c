"""Updates that parallel requests of one session lose, under real application servers.

    python tools/lost_updates.py [--updates 100000] [--clients 16] [--json FILE] [CASE...]

Each case is an app (tools/lost_apps.py) under gunicorn with four processes, or uvicorn with two,
and an engine on a store. CLIENTS threads of some processes share one session cookie; each counts up
a field of its own, request by request, and waits for each answer. In the end a field that is lower
than the answers that its client got has lost updates. Where the engine can add in the store, the
sum over all clients has to be right as well, and the list to hold its last entries.

Starts Debian's redis-server and memcached and our own server (SESSILE_SERVER_BIN, or the newest one
built here). Ends with 1 if an engine of ours lost an update.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from servers import RIVALS, Store, free_port, server_bin

ROOT = Path(__file__).resolve().parent.parent
DRIVERS = 2
"""Processes that the clients are spread over."""
START_SECONDS = 30.0


@dataclass(frozen=True)
class Case:
    """An app with an engine."""

    app: str
    engine: str
    store: str

    @property
    def name(self) -> str:
        where = "" if self.engine != "sessile" else f" on {self.store}"
        return f"{self.app}, {self.engine}{where}"


CASES = (
    Case("django", "django-redis", "redis"),
    Case("django", "pymemcache", "memcached"),
    Case("django", "sessile", "redis"),
    Case("django", "sessile", "memcached"),
    Case("django", "sessile", "sessile"),
    Case("django", "sessile", "embedded"),
    Case("flask", "flask-session", "redis"),
    Case("flask", "sessile", "redis"),
    Case("flask", "sessile", "sessile"),
    Case("starlette", "sessile", "redis"),
    Case("starlette", "sessile", "sessile"),
)


def address(case: Case, rivals: Store, ours: Store, folder: str) -> str:
    """The store's address, as the engine wants it."""
    if case.store == "redis":
        return rivals.redis_url
    if case.store == "memcached":
        return rivals.memcached if case.engine != "sessile" else f"memcached://{rivals.memcached}"
    if case.store == "embedded":
        # Nobody else ends this server.
        return f"embedded:{folder}/embedded?idle=1"
    return f"sessile://{ours.host}:{ours.port}"


class App:
    """An application server that runs."""

    def __init__(self, case: Case, store: str, folder: str) -> None:
        self.port = free_port()
        where = f"lost_apps:{case.app}"
        if case.app == "starlette":
            command = ["uvicorn", "--factory", where, "--port", str(self.port), "--workers", "2"]
            command += ["--log-level", "error"]
        else:
            command = ["gunicorn", f"{where}()", "--bind", f"127.0.0.1:{self.port}"]
            command += ["--workers", "4", "--threads", "4", "--log-level", "error"]
        environment = dict(os.environ, LOST_ENGINE=case.engine, LOST_STORE=store)
        paths = [str(ROOT / "tools"), str(ROOT / "python" / "src")]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        environment.setdefault("SESSILE_SERVER_BIN", server_bin())
        self.log = Path(folder) / f"app-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log
            )

    def first(self) -> str:
        """The cookie of a session that it has made, once it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return ask(self.port, "/change/0", "")[0]
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{error}; the app says:\n{self.log.read_text()}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def ask(port: int, path: str, cookie: str, link: http.client.HTTPConnection | None = None) -> Any:
    """The cookie and the body of an answer. Raises OSError, also for what isn't 200."""
    own = link or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        own.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = own.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status} {body[:200]!r}")
        set_cookie = answer.getheader("Set-Cookie") or ""
        return set_cookie.partition(";")[0] or cookie, json.loads(body)
    finally:
        if link is None:
            own.close()


def drive(port: int, cookie: str, clients: list[int], updates: int) -> dict[int, tuple[int, int]]:
    """Clients of one process: of each the updates that were answered with 200, and those not."""
    done: dict[int, tuple[int, int]] = {}

    def one(number: int) -> None:
        good = bad = 0
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(updates):
            try:
                ask(port, f"/change/{number}", cookie, link)
                good += 1
            except (OSError, http.client.HTTPException):
                # Whether it was done isn't known.
                bad += 1
                link.close()
        link.close()
        done[number] = good, bad

    threads = [Thread(target=one, args=(number,)) for number in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def measure(case: Case, store: str, folder: str, updates: int, clients: int) -> dict[str, Any]:
    """One case from start to end."""
    app = App(case, store, folder)
    try:
        cookie = app.first()
        each = max(updates // clients, 1)
        begun = time.monotonic()
        done: dict[int, tuple[int, int]] = {}
        with ProcessPoolExecutor(DRIVERS) as pool:
            shares = [list(range(at, clients, DRIVERS)) for at in range(DRIVERS)]
            jobs = [pool.submit(drive, app.port, cookie, share, each) for share in shares]
            for job in jobs:
                done |= job.result()
        seconds = time.monotonic() - begun
        session = ask(app.port, "/read", cookie)[1]
    finally:
        app.stop()
    return judged(done, session, seconds)


def judged(done: dict[int, tuple[int, int]], session: dict[str, Any], seconds: float) -> Any:
    """What was lost. The first request, which made the session, was one of client 0."""
    answered = sum(good for good, _ in done.values()) + 1
    failed = sum(bad for _, bad in done.values())
    lost = 0
    for number, (good, bad) in done.items():
        first = 1 if number == 0 else 0
        kept = session.get(f"field{number}", 0)
        lost += max(good + first - kept, 0)
        if kept > good + bad + first:
            raise SystemExit(f"client {number} has {kept} of {good + bad + first} updates")
    found = {"updates": answered, "failed": failed, "lost": lost, "seconds": round(seconds, 1)}
    if "total" in session:
        # Of a request that failed it isn't known whether it was done.
        short = answered - session["total"]
        found["lost_in_sum"] = max(short, 0)
        found["too_many_in_sum"] = max(-short - failed, 0)
        found["list_short_by"] = max(min(answered, 100) - len(session["seen"]), 0)
    return found


def bad(case: Case, found: dict[str, Any]) -> bool:
    """Whether an engine of ours lost something."""
    names = ("lost", "lost_in_sum", "too_many_in_sum", "list_short_by")
    return case.engine == "sessile" and any(found.get(name) for name in names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="parts of names (all)")
    options = parser.parse_args()
    chosen = [c for c in CASES if not options.cases or any(w in c.name for w in options.cases)]
    results, failed = {}, False
    with (
        tempfile.TemporaryDirectory(prefix="sessile-lost-") as folder,
        Store(command=RIVALS) as rivals,
        Store(command=server_bin()) as ours,
    ):
        for case in chosen:
            store = address(case, rivals, ours, folder)
            found = measure(case, store, folder, options.updates, options.clients)
            results[case.name] = found
            rate = found["updates"] / max(found["seconds"], 0.1)
            part = found["lost"] / found["updates"] * 100
            print(
                f"{case.name:32} {found['updates']:7} updates, {found['lost']:6} lost "
                f"({part:.1f} %), {found['failed']} failed, {rate:.0f}/s",
                flush=True,
            )
            failed |= bad(case, found)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
