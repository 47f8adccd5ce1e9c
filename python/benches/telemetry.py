"""What telemetry costs a request: microseconds for a load and a save, in three kinds of process.

    python python/benches/telemetry.py

Each row is measured in a process of its own, on `memory:`, median of many rounds; the first is a
process in which the check itself is taken out. Prints; compares nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS, CALLS = 300, 50
KINDS = {
    "no check at all": "",
    "not imported": "",
    "imported, not configured": "import opentelemetry.trace, opentelemetry.metrics",
    "configured, no exporter": """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
""",
}


def one(kind: str) -> float:
    """Microseconds of a request in this process."""
    exec(KINDS[kind], {})
    from sessile import settings as module
    from sessile.plans import run
    from sessile.session import Session

    if kind == "no check at all":
        module.observed = lambda engine, url: engine  # type: ignore[assignment]
    settings = module.Settings("memory:bench")
    first = Session(settings)
    first.data = {"hits": 0}
    run(settings.engine(), first.save())
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            session = Session(settings, first.id)
            run(settings.engine(), session.load())
            session.data["hits"] += 1
            run(settings.engine(), session.save())
        took.append((time.perf_counter() - began) / CALLS * 1e6)
    return statistics.median(took)


def main() -> None:
    least = 0.0
    for kind in KINDS:
        runs = [
            float(subprocess.check_output([sys.executable, __file__, kind], text=True))
            for _ in range(3)
        ]
        median = statistics.median(runs)
        least = least or median
        print(f"{kind:26} {median:7.2f} µs a request, {median - least:+6.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(one(sys.argv[1]))
    else:
        main()
