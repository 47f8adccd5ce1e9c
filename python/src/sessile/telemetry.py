"""Spans and counters of sessions for OpenTelemetry, if the app has set that up.

`observed` puts itself before an engine once the app has configured a provider, and does nothing
before that. What always holds: nothing of OpenTelemetry is imported here that the app hasn't
imported, so without it one look at `sys.modules` is all that a request pays; attributes hold no
id, handle, user or value, and spans no text of an error. Names are those of OpenTelemetry's
conventions for clients of databases (`db.*`, `server.*`, `error.type`) where there are any;
docs/telemetry.md lists them all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sessile.contract import AsyncEngine, Engine, Rotated
from sessile.errors import SessionConflict, SessionUnavailable
from sessile.faces import AsyncFace, Face
from sessile.ruled import CALLS

__all__ = ["async_observed", "conflict", "is_on", "observed"]

SYSTEMS = {
    "redis": "redis",
    "rediss": "redis",
    "valkey": "valkey",
    "valkeys": "valkey",
    "memcached": "memcached",
    "file": "sqlite",
}
"""How `db.system.name` calls what a URL scheme leads to; others are `sessile`."""
SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
"""Where a histogram of durations is cut."""
SPANS = {
    "create": "session.create",
    "load": "session.load",
    "save": "session.save",
    "rotate": "session.rotate",
    "end": "session.end",
    "end_all": "session.end_all",
    "touch": "session.touch",
    "sessions_of": "session.list",
    "exists": "session.exists",
    "ping": "ping",
}
"""Operations as spans and `db.operation.name` call them."""
PROVIDERS = (
    ("opentelemetry.trace", "_TRACER_PROVIDER", "opentelemetry.trace", "get_tracer_provider"),
    (
        "opentelemetry.metrics._internal",
        "_METER_PROVIDER",
        "opentelemetry.metrics",
        "get_meter_provider",
    ),
)
"""Where a provider is kept once there is one, and what answers it."""
_on = False


def is_on() -> bool:
    """Whether the app has configured OpenTelemetry, for spans or for counters."""
    global _on
    if not _on:
        for keeper, attribute, name, ask in PROVIDERS:
            module = sys.modules.get(keeper)
            # The attribute says it for less; should there be none some day, the function is asked.
            if module is not None and getattr(module, attribute, module) is not None:
                # What another thread is only just importing can't be asked yet.
                asked = getattr(sys.modules.get(name), ask, None)
                _on = _on or (asked is not None and is_real(asked()))
    return _on


def is_real(provider: Any) -> bool:
    """Whether this is more than what stands in until an app configures something."""
    return not type(provider).__name__.lstrip("_").startswith(("Proxy", "NoOp"))


def observed(engine: Engine, url: str) -> Engine:
    """The engine, with spans and counters if there is anybody to take them."""
    return Observed(engine, url) if is_on() else engine


def async_observed(engine: AsyncEngine, url: str) -> AsyncEngine:
    """`observed` for asyncio."""
    return AsyncObserved(engine, url) if is_on() else engine


def conflict(url: str) -> None:
    """Counts a conflict that the store wasn't asked about."""
    if is_on():
        instruments().conflicts.add(1, about(url))


class Instruments:
    """What spans and counters are made with."""

    def __init__(self) -> None:
        from opentelemetry import metrics, trace

        from sessile import __version__

        self.tracer = trace.get_tracer("sessile", __version__)
        self.client = trace.SpanKind.CLIENT
        self.failed = trace.Status(trace.StatusCode.ERROR)
        meter = metrics.get_meter("sessile", __version__)
        self.durations = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="How long operations on sessions took",
            explicit_bucket_boundaries_advisory=SECONDS,
        )

        def counter(name: str, unit: str, description: str) -> Any:
            return meter.create_counter(f"sessile.session.{name}", unit, description)

        self.loads = counter("loads", "{load}", "Sessions asked for, by what was found")
        self.conflicts = counter("conflicts", "{conflict}", "Writes refused as others wrote")
        self.rotations = counter("rotations", "{rotation}", "Sessions that got another id")
        self.outages = counter("outages", "{outage}", "Operations that the store didn't answer")


@lru_cache(maxsize=1)
def instruments() -> Instruments:
    """Those of this process."""
    return Instruments()


@lru_cache(maxsize=16)
def about(url: str) -> dict[str, str | int]:
    """What is said of the store at a URL: never a password, a user or a path's query."""
    from sessile.urls import parse

    address = parse(url)
    kind = address.scheme.partition("+")[0]
    found: dict[str, str | int] = {"db.system.name": SYSTEMS.get(kind, "sessile")}
    hosts = address.hosts(0) if address.netloc else []
    if len(hosts) == 1:
        host, port = hosts[0]
        found["server.address"] = host
        if port:
            found["server.port"] = port
    database = address.path.strip("/")
    if address.netloc and database.isdecimal():
        found["db.namespace"] = database
    return found


class Operations:
    """Each operation as its name and a call of an engine."""

    def __getattr__(self, name: str) -> Callable[..., tuple[str, Callable[[Any], Any]]]:
        make = getattr(CALLS, name)
        return lambda *arguments: (name, make(*arguments))


class Observation:
    """One operation under way."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.store = about(url)
        self.used = instruments()

    @contextmanager
    def span(self) -> Iterator[None]:
        """The time in which the operation runs."""
        used, operation = self.used, SPANS[self.name]
        attributes = {**self.store, "db.operation.name": operation}
        began = time.perf_counter()
        with used.tracer.start_as_current_span(
            operation,
            kind=used.client,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                attributes["error.type"] = type(error).__name__
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(used.failed)
                self.failed(error)
                raise
            finally:
                used.durations.record(time.perf_counter() - began, attributes)

    def failed(self, error: Exception) -> None:
        if isinstance(error, SessionUnavailable):
            self.used.outages.add(1, self.store)
        elif isinstance(error, SessionConflict):
            self.used.conflicts.add(1, self.store)

    def answered(self, answer: Any) -> Any:
        """Counts what came of it."""
        if self.name == "load":
            is_there = "rotated" if isinstance(answer, Rotated) else "found"
            outcome = "absent" if answer is None else is_there
            self.used.loads.add(1, {**self.store, "sessile.outcome": outcome})
        elif self.name == "rotate" and answer is not None:
            self.used.rotations.add(1, self.store)
        return answer


class Observed(Face):
    """`sessile.contract.Engine` with a span for each operation."""

    _plans = Operations()

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self._url = url

    def _run(self, plan: tuple[str, Callable[[Any], Any]]) -> Any:
        name, call = plan
        observation = Observation(name, self._url)
        with observation.span():
            return observation.answered(call(self.engine))

    def close(self) -> None:
        self.engine.close()


class AsyncObserved(AsyncFace):
    """`sessile.contract.AsyncEngine` with a span for each operation."""

    _plans = Operations()

    def __init__(self, engine: AsyncEngine, url: str) -> None:
        self.engine = engine
        self._url = url

    async def _run(self, plan: tuple[str, Callable[[Any], Any]]) -> Any:
        name, call = plan
        observation = Observation(name, self._url)
        with observation.span():
            return observation.answered(await call(self.engine))

    async def close(self) -> None:
        await self.engine.close()
