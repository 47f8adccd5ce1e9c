"""Updates that overlapping requests of one session lose, under real application servers.

    python tools/lost_updates.py [--updates 100000] [--seed N] [--json FILE] [CASE...]

Each case is an app (tools/lost/apps.py) under gunicorn with four processes or uvicorn with two,
with a session engine on a store. Rounds are drawn from the seed (tools/lost/plans.py): five clients
share one session and send requests at the same time, over 20 % of which wait for each other after
loading, and in the end one of them signs out while the others are under way. What was lost or came
back is judged by tools/lost/judge.py.

Starts Debian's redis-server and memcached and our own server (SESSILE_SERVER_BIN, or the newest one
built here). The seed repeats what is sent, not what the machine makes of it. Ends with 1 if an
engine of ours lost an update or revived a session, if a request failed or was refused for good, or
if requests that were to meet didn't.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lost.judge import Verdict, judged
from lost.plans import CLIENTS, PER_ROUND, draw
from lost.rounds import Site, play
from servers import RIVALS, Store, free_port, server_bin

ROOT = Path(__file__).resolve().parent.parent
DRIVERS = 2
"""Processes that send requests."""
LANES = 2
"""Rounds that each of them plays at the same time."""
CHUNK = 12
"""Rounds after which a process says how it went."""
START_SECONDS = 60.0
ON_ASYNCIO = ("django_asgi", "shop_asgi", "starlette", "quart")
"""The apps that uvicorn serves, the others are gunicorn's."""
BORN = "born"
"""As in lost/apps.py."""
WRONG = ("lost", "revived", "unlike the replay", "failed", "given up", "met nobody")
"""What must not happen with an engine of ours."""


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

    @property
    def ours(self) -> bool:
        return self.engine == "sessile"


CASES = (
    Case("django", "django-redis", "redis"),
    Case("django", "cached_db", "redis"),
    Case("django", "pymemcache", "memcached"),
    Case("django", "sessile", "redis"),
    Case("django", "sessile", "memcached"),
    Case("django", "sessile", "sessile"),
    Case("django", "sessile", "embedded"),
    Case("django_asgi", "sessile", "redis"),
    Case("shop", "sessile", "sessile"),
    Case("shop_asgi", "sessile", "sessile"),
    Case("flask", "flask-session", "redis"),
    Case("flask", "sessile", "redis"),
    Case("flask", "sessile", "sessile"),
    Case("starlette", "sessile", "redis"),
    Case("starlette", "sessile", "sessile"),
    Case("quart", "sessile", "sessile"),
)


@dataclass(frozen=True)
class Servers:
    """The stores of a run, and a folder."""

    rivals: Store
    ours: Store
    meeting: Store
    folder: str

    def address(self, case: Case) -> str:
        """The store's address, as the engine wants it; for ours with time for a busy machine."""
        place = self.place(case)
        patient = f"{'&' if '?' in place else '?'}timeout=20" + "&pool_wait=20"
        return place + patient if case.ours else place

    def place(self, case: Case) -> str:
        """The store's address alone."""
        if case.store == "redis":
            return self.rivals.redis_url
        if case.store == "memcached":
            where = self.rivals.memcached
            return f"memcached://{where}" if case.ours else where
        if case.store == "embedded":
            # Nobody else ends this server.
            return f"embedded:{self.folder}/embedded?idle=1"
        return f"sessile://{self.ours.host}:{self.ours.port}"


class App:
    """An application server that runs."""

    def __init__(self, case: Case, servers: Servers) -> None:
        self.port = free_port()
        where = f"lost.apps:{case.app}"
        if case.app in ON_ASYNCIO:
            command = ["uvicorn", "--factory", where, "--port", str(self.port), "--workers", "2"]
            command += ["--log-level", "error", "--timeout-keep-alive", "60"]
        else:
            # A thread for each client: those who wait for others don't hold them up.
            threads = str(DRIVERS * LANES * CLIENTS)
            command = ["gunicorn", f"{where}()", "--bind", f"127.0.0.1:{self.port}"]
            command += ["--workers", "4", "--threads", threads, "--log-level", "error"]
            command += ["--keep-alive", "60"]
        environment = dict(
            os.environ,
            LOST_ENGINE=case.engine,
            LOST_STORE=servers.address(case),
            LOST_MEET=servers.meeting.redis_url,
            LOST_FOLDER=servers.folder,
            PYTHONPATH=os.pathsep.join([str(ROOT / "tools"), str(ROOT / "python" / "src")]),
            DJANGO_SETTINGS_MODULE="",
        )
        environment.setdefault("SESSILE_SERVER_BIN", server_bin())
        if case.engine == "cached_db":
            migrate(environment)
        self.log = Path(servers.folder) / f"app-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log
            )
        self.wait()

    def wait(self) -> None:
        """Returns once it accepts connections."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{error}; the app says:\n{self.log.read_text()}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def migrate(environment: dict[str, str]) -> None:
    """Makes the tables of `cached_db`."""
    code = "import lost.apps; lost.apps.django(); from django.core.management import call_command"
    code += "; call_command('migrate', verbosity=0)"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def drive(port: int, seeds: list[str], ours: bool, keep: Path | None) -> Verdict:
    """Plays rounds, LANES at the same time; one process does this."""

    def lane(number: int) -> Verdict:
        verdict, site = Verdict(), Site(port, CLIENTS)
        try:
            for seed in seeds[number::LANES]:
                history = play(site, draw(seed, BORN))
                found = judged(history, BORN, ours=ours)
                verdict += found
                if keep and found.complaints:
                    name = seed.replace("/", "-").replace(", ", "-").replace(" ", "-")
                    (keep / f"{name}.json").write_text(history.told())
        finally:
            site.close()
        return verdict

    whole = Verdict()
    with ThreadPoolExecutor(LANES) as pool:
        for verdict in pool.map(lane, range(LANES)):
            whole += verdict
    return whole


def measure(case: Case, servers: Servers, options: argparse.Namespace) -> tuple[Verdict, float]:
    """One case from start to end: what was found, and the seconds that it took."""
    rounds = -(-options.updates // PER_ROUND)
    seeds = [f"{options.seed}/{case.name}/{number}" for number in range(rounds)]
    chunks = [seeds[at : at + CHUNK] for at in range(0, rounds, CHUNK)]
    app = App(case, servers)
    begun, whole = time.monotonic(), Verdict()
    try:
        with ProcessPoolExecutor(DRIVERS) as pool:
            how = (case.ours, options.keep)
            jobs = [pool.submit(drive, app.port, chunk, *how) for chunk in chunks]
            for job in as_completed(jobs):
                whole += job.result()
                progress(case, whole, rounds)
    finally:
        app.stop()
    if whole.counts["failed"]:
        whole.complaints.append(f"the app says: {app.log.read_text()[-2000:]}")
    return whole, time.monotonic() - begun


def progress(case: Case, verdict: Verdict, rounds: int) -> None:
    """One line that is written over, for whoever watches."""
    if sys.stdout.isatty():
        counts = verdict.counts
        print(f"\r{case.name}: {counts['rounds']} of {rounds} rounds", end="\r", flush=True)


def report(case: Case, verdict: Verdict, seconds: float) -> None:
    """What was found, for people."""
    c = verdict.counts
    share = c["forced"] / max(c["requests"], 1) * 100
    print(
        f"{case.name:32} {c['updates']:7} updates, {share:.0f} % forced to overlap, "
        f"{c['lost']:6} lost, {c['revived']:5} revived of {c['rounds']}, {c['failed']} failed, "
        f"{c['requests'] / max(seconds, 0.1):.0f}/s",
        flush=True,
    )
    if case.ours:
        odd = {name: c[name] for name in WRONG if c[name]}
        for line in ([f"{odd}"] if odd else []) + verdict.complaints:
            print(f"    {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=100_000, help="requests of each case")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--json", type=Path, help="where the counts go")
    parser.add_argument("--keep", type=Path, help="where rounds go in which anything is wrong")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="parts of names (all)")
    options = parser.parse_args()
    chosen = [c for c in CASES if not options.cases or any(w in c.name for w in options.cases)]
    print(f"seed {options.seed}", flush=True)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    results, failed = {}, False
    with (
        tempfile.TemporaryDirectory(prefix="sessile-lost-") as folder,
        Store(command=RIVALS) as rivals,
        Store(command=RIVALS) as meeting,
        Store(command=server_bin()) as ours,
    ):
        servers = Servers(rivals, ours, meeting, folder)
        for case in chosen:
            verdict, seconds = measure(case, servers, options)
            report(case, verdict, seconds)
            results[case.name] = found(verdict, options.seed, seconds)
            failed |= case.ours and any(verdict.counts[name] for name in WRONG)
            failed |= not verdict.counts["forced"]
            if options.json:
                options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(failed)


def found(verdict: Verdict, seed: int, seconds: float) -> dict[str, Any]:
    """What a case goes down as in a file."""
    zeros = dict.fromkeys(WRONG, 0)
    counts = zeros | dict(sorted(verdict.counts.items()))
    said = {"seed": seed, "seconds": round(seconds, 1), **counts}
    return said | ({"complaints": verdict.complaints} if verdict.complaints else {})


if __name__ == "__main__":
    sys.exit(main())
