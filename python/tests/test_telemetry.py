"""OpenTelemetry: nothing until an app configures it, then spans and counters that name nobody.

Providers are set once in a process, so each test runs in one of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import sessile
from sessile.telemetry import about

ROOT = Path(__file__).resolve().parents[2]
TESTS = Path(__file__).resolve().parent

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise AssertionError("imported: " + name)
sys.meta_path.insert(0, Blocked())
"""
ROUND = """
import asyncio, sessile, sessile.flask, sessile.quart, sessile.starlette, sessile.memcached
import sessile.sessile, sessile.embedded, sessile.sealed, sessile.moving
from sessile.plans import arun, run
from sessile.session import Session
from sessile.settings import Settings

def work(settings):
    first = Session(settings)
    first.data = {"secret": "a value", "user": "nobody"}
    run(settings.engine(), first.save())
    again = Session(settings, first.id)
    run(settings.engine(), again.load())
    again.data["user"] = "ann"
    run(settings.engine(), again.save())
    late = Session(settings, first.id)
    run(settings.engine(), late.load())
    late.data["x"] = 1
    try:
        run(settings.engine(), late.save())
        raise AssertionError("no conflict")
    except sessile.SessionConflict:
        pass
    run(settings.engine(), Session(settings, "a" * 32).load())
    run(settings.engine(), again.end())
    return first.id, again

settings = Settings("memory:t", user_of=lambda data: data.get("user", ""))
"""
CONFIGURED = """
import json, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, reader = InMemorySpanExporter(), InMemoryMetricReader()

def configure():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))

def told():
    points = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "sessile"
            for metric in scope.metrics:
                points[metric.name] = [
                    [dict(one.attributes), getattr(one, "value", getattr(one, "count", None))]
                    for one in metric.data.data_points
                ]
    return {
        "spans": [
            [one.name, dict(one.attributes), one.status.status_code.name, len(one.events),
             one.status.description, one.kind.name, one.parent is not None]
            for one in spans.get_finished_spans()
        ],
        "points": points,
    }
"""


def told(*parts: str) -> Any:
    """What a process prints that runs this."""
    paths = [str(Path(sessile.__file__).parents[1]), str(TESTS)]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(parts)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout and json.loads(done.stdout)


def test_nothing_is_imported_that_the_app_did_not_import() -> None:
    told(BLOCKED, ROUND, "work(settings)", "assert 'opentelemetry' not in sys.modules")


def test_nothing_is_imported_by_django_either() -> None:
    told(BLOCKED, "import django_site, sessile.django.admin", "from django.test import Client")


def test_an_api_without_a_provider_is_as_good_as_none() -> None:
    lines = "import sys\nfrom opentelemetry import trace, metrics\n"
    told(
        lines,
        ROUND,
        "import sessile.telemetry as t\nassert not t.is_on()",
        "work(settings)\nassert not t.is_on() and not t.instruments.cache_info().currsize",
        "assert type(settings.engine()).__name__ == 'MemoryEngine'",
    )


def test_another_version_may_keep_its_providers_elsewhere() -> None:
    moved = "t.PROVIDERS = [(a, '?', c, d) for a, _, c, d in t.PROVIDERS]"
    elsewhere = f"import sessile.telemetry as t\n{moved}"
    told(CONFIGURED, elsewhere, "assert not t.is_on()\nconfigure()\nassert t.is_on()")


def test_what_another_thread_is_only_just_importing_is_not_asked() -> None:
    begun = "import sys, types, sessile.telemetry as t\n"
    begun += "for a, _, c, _ in t.PROVIDERS: sys.modules[a] = sys.modules[c] = types.ModuleType(c)"
    told(begun, "assert not t.is_on()")


def test_the_page_switches_it_on() -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    (text,) = re.findall(r"^```python app\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    told(text, ROUND, "work(settings)\nimport sessile.telemetry as t\nassert t.is_on()")


def test_spans_and_counters_name_nobody() -> None:
    found = told(
        CONFIGURED,
        ROUND,
        "work(settings)  # nobody listens yet",
        "configure()\nid, again = work(settings)",
        "print(json.dumps([id, again.id, again.keys[0].decode(), told()]))",
    )
    first, second, handle, seen = found
    text = json.dumps(seen)
    for secret in (first, second, handle[-64:], handle[-12:], "ann", "a value", "nobody"):
        assert secret not in text
    names = [row[0] for row in seen["spans"]]
    assert names == [
        "session.create",
        "session.load",
        "session.rotate",
        "session.load",
        "session.load",
        "session.end",
    ]
    for name, attributes, status, events, description, kind, child in seen["spans"]:
        assert attributes == {"db.system.name": "sessile", "db.operation.name": name}
        assert (status, events, description, kind, child) == ("UNSET", 0, None, "CLIENT", False)
    points = seen["points"]
    outcomes = {row[0]["sessile.outcome"]: row[1] for row in points["sessile.session.loads"]}
    assert outcomes == {"found": 1, "rotated": 1, "absent": 1}
    assert [row[1] for row in points["sessile.session.rotations"]] == [1]
    assert [row[1] for row in points["sessile.session.conflicts"]] == [1]
    assert "sessile.session.outages" not in points
    durations = {
        row[0]["db.operation.name"]: row[1] for row in points["db.client.operation.duration"]
    }
    assert durations == {name: names.count(name) for name in names}


def test_asyncio_and_outages_and_conflicts() -> None:
    seen = told(
        CONFIGURED,
        ROUND,
        """
configure()
strict = Settings("memory:s", strict=True)
async def both():
    first = Session(strict)
    first.data = {"a": 1}
    with trace.get_tracer("app").start_as_current_span("request"):
        await arun(strict.async_engine(), first.save())
        one, two = Session(strict, first.id), Session(strict, first.id)
        for session in (one, two):
            await arun(strict.async_engine(), session.load())
            session.data["a"] += 1
        await arun(strict.async_engine(), one.save())
        try:
            await arun(strict.async_engine(), two.save())
        except sessile.SessionConflict:
            pass
asyncio.run(both())
away = Settings("redis://127.0.0.1:1/3")
lost = Session(away, "a" * 32)
try:
    run(away.engine(), lost.load())
except sessile.SessionUnavailable:
    pass
print(json.dumps(told()))
""",
    )
    *inner, request, outage = seen["spans"]
    assert request[0] == "request" and all(row[-1] for row in inner)
    assert [row[0] for row in inner] == [
        "session.create",
        "session.load",
        "session.load",
        "session.save",
        "session.save",
    ]
    assert inner[-1][2] == "ERROR" and inner[-1][1]["error.type"] == "SessionConflict"
    assert outage[:5] == [
        "session.load",
        {
            "db.system.name": "redis",
            "db.operation.name": "session.load",
            "db.namespace": "3",
            "server.address": "127.0.0.1",
            "server.port": 1,
            "error.type": "SessionUnavailable",
        },
        "ERROR",
        0,
        None,
    ]
    points = seen["points"]
    assert [row[1] for row in points["sessile.session.conflicts"]] == [1]
    (row,) = points["sessile.session.outages"]
    assert row[1] == 1 and row[0]["server.address"] == "127.0.0.1"


def test_what_is_said_of_a_store_holds_no_password() -> None:
    urls = {
        "rediss://user:pw@host:6380/2?timeout=1": {
            "db.system.name": "redis",
            "server.address": "host",
            "server.port": 6380,
            "db.namespace": "2",
        },
        "valkey://host": {"db.system.name": "valkey", "server.address": "host"},
        "redis+cluster://a:1,b:2": {"db.system.name": "redis"},
        "memcached://a,b": {"db.system.name": "memcached"},
        "unix:///run/sessile.sock": {"db.system.name": "sessile"},
        "file:/srv/sessions": {"db.system.name": "sqlite"},
    }
    assert {url: about(url) for url in urls} == urls


def test_the_page_names_every_span_and_counter() -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    code = (ROOT / "python/src/sessile/telemetry.py").read_text()
    names = set(re.findall(r'"((?:db|server|error|sessile)\.[a-z_.]+|session\.[a-z_]+)"', code))
    counters = {f"sessile.session.{name}" for name in re.findall(r'counter\("([a-z]+)"', code)}
    assert len(names) >= 15 and len(counters) == 4
    assert {name for name in names | counters if f"`{name}`" not in page} == set()
