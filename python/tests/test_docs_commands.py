"""Snippets of the pages that other tests don't run: command lines, settings, an ACL, alarms.

Every fence of the README and of docs/ belongs to a page that a test runs: a new one fails here.
"""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.checks import run_checks
from django.test import Client, override_settings

import django_site
from servers import RIVALS, Store, free_port, server_bin
from sessile.contract import Changes, Life
from sessile.urls import open_engine
from stores import World

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HERE = {"README", "admin", "bench", "durability", "guide", "redis"}
ELSEWHERE = {
    "django": "test_docs_django",
    "flask": "test_docs_frameworks",
    "asgi": "test_docs_frameworks",
    "testing": "test_docs_frameworks",
    "moving-in": "test_moving",
    "encryption": "test_encryption_apps",
    "telemetry": "test_telemetry",
}
"""Pages, and the test that runs their snippets."""


def snippets(page: str) -> list[tuple[str, str]]:
    text = (ROOT / (f"docs/{page}.md" if page != "README" else "README.md")).read_text()
    found = FENCE.findall(text)
    assert text.count("```") == 2 * len(found), page
    return found


def blocks(page: str, info: str = "") -> list[str]:
    return [text for kind, text in snippets(page) if kind == info]


def lines(page: str, program: str, info: str = "") -> list[list[str]]:
    """The words of the command lines of a program, without what stands behind `#`."""
    text = "".join(blocks(page, info))
    found = [line.partition("#")[0].split() for line in text.splitlines()]
    return [line for line in found if line and line[0] == program]


def test_every_page_with_a_snippet_is_run_by_a_test() -> None:
    pages = {file.stem for file in (ROOT / "docs").glob("*.md") if snippets(file.stem)}
    assert pages | {"README"} == HERE | set(ELSEWHERE)
    for page, test in ELSEWHERE.items():
        name = "moving-in" if page == "moving-in" else page
        assert name in (ROOT / f"python/tests/{test}.py").read_text()


def test_there_is_no_snippet_that_nobody_runs() -> None:
    known = {
        "README": {"", "python"},
        "admin": {"", "yaml"},
        "bench": {""},
        "durability": {"text"},
        "guide": {"python"},
        "redis": {"text"},
    }
    programs = {"make", "sessile", "sessile-bench", "python"}
    for page, infos in known.items():
        assert {info for info, _ in snippets(page)} == infos, page
    for page in ("README", "bench"):
        for text in blocks(page):
            assert {line.split()[0] for line in text.splitlines()} <= programs


def test_make_knows_its_targets() -> None:
    named = [line for page in ("README", "bench") for line in lines(page, "make")]
    assert len(named) == 5
    for line in named:
        command = [*line, "-n"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def server_program() -> str:
    program = server_bin()
    if program == RIVALS:
        pytest.skip("the rivals are under test, not our own server")
    return program


def test_the_server_takes_the_arguments_of_readme_and_admin() -> None:
    commands = lines("README", "sessile") + lines("admin", "sessile")
    assert len(commands) == 2
    for _, *arguments in commands:
        told = subprocess.run(
            [server_program(), *arguments, "--print-config"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name, value in zip(arguments[::2], arguments[1::2], strict=True):
            (line,) = re.findall(rf"^{name[2:]} (.*)$", told, re.MULTILINE)
            assert line in (value, str(bytes_of(value))), line


def bytes_of(text: str) -> int | str:
    number = text.removesuffix("gb")
    return int(number) << 30 if number != text else text


@pytest.fixture
def metrics() -> Iterator[tuple[str, str]]:
    """What /metrics says of a server that runs, and the admin's page of the documentation."""
    port = free_port()
    with Store(extra=["--http-port", str(port)], command=server_program()) as store:
        with redis.Redis(port=store.port) as client:
            client.set("a", 1, ex=1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            yield answer.read().decode(), (ROOT / "docs/admin.md").read_text()


def test_alarms_are_about_metrics_that_exist(metrics: tuple[str, str]) -> None:
    told, page = metrics
    (alarms,) = [text for text in blocks("admin") if "sessile_up" in text]
    names = set(re.findall(r"\b(?:sessile|process)_\w+", alarms))
    assert len(names) >= 5
    for name in names:
        family = re.sub(r"_(sum|count|bucket)$", "", name)
        assert f"| `{family}` |" in page, name
    # Told from the beginning, so that an alarm isn't silent for want of it.
    for name in names - {"sessile_expiry_lag_seconds_sum", "sessile_expiry_lag_seconds_count"}:
        assert re.search(rf"^{name}[ {{]", told, re.MULTILINE), name


def test_prometheus_is_pointed_at_the_port_that_the_page_opens() -> None:
    (yaml,) = blocks("admin", "yaml")
    ((_, option, port),) = lines("admin", "sessile")
    assert option == "--http-port"
    assert f'targets: ["127.0.0.1:{port}"]' in yaml
    assert [len(line) - len(line.lstrip()) for line in yaml.splitlines()] == [0, 2, 4, 6]


def test_files_are_checked_as_the_page_says(tmp_path: Path) -> None:
    (_, *arguments), (_, *salvage) = lines("durability", "sessile", "text")
    data = tmp_path / "sessile-data"
    data.mkdir()
    command = [server_program(), "--dir", str(data), "--memcached-port", "0", "--port"]
    port = free_port()
    process = subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(
            port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), 200)
        ) as client:
            client.set("a", 1)
            client.save()
    finally:
        process.terminate()
        process.wait(60)
    told = subprocess.run(
        [server_program(), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert all(Path(name).name in told.stdout for name in arguments[1:])
    assert salvage[:2] == ["--salvage", "--dir"]


def test_bench_takes_the_arguments_of_the_page() -> None:
    """By its source: the program isn't built for these tests, and tests/bench runs it."""
    commands = [line[1:] for line in lines("bench", "sessile-bench")]
    assert len(commands) >= 5
    for line in commands:
        assert line[0] in ("workloads", "compare", "report", "run")
    main = (ROOT / "crates/bench/src").rglob("*.rs")
    source = "\n".join(file.read_text() for file in main)
    for option in {word for line in commands for word in line if word.startswith("--")}:
        assert f'"{option[2:]}"' in source, option


def test_tools_that_the_page_names_are_there() -> None:
    for _, script, *_ in lines("bench", "python"):
        assert (ROOT / script).exists()


def test_the_guides_examples_run(world: World) -> None:
    django, flask = (
        text.replace("redis://127.0.0.1:6379/0", world.redis().url)
        for text in blocks("guide", "python")
    )
    names: dict[str, Any] = {}
    exec(django, names)
    django_site.users()
    with override_settings(**{key: value for key, value in names.items() if key.isupper()}):
        assert [one for one in run_checks() if one.id and one.id.startswith("sessile.E")] == []
        client = Client()
        client.get("/change")
        assert client.get("/read").json()["hits"] == 1
    app_names: dict[str, Any] = {"__name__": "guide"}
    exec(flask, app_names)
    app, session = app_names["app"], app_names["session"]

    @app.get("/")
    def visit() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    browser = app.test_client()
    assert [browser.get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_the_least_rights_of_redis_are_enough(world: World) -> None:
    (text,) = blocks("redis", "text")
    words = text.split()
    assert words[:3] == ["ACL", "SETUSER", "shop"]
    with redis.Redis(port=world.redis().port) as admin:
        admin.execute_command(*words)
        try:
            engine = open_engine(world.redis().url.replace("//", "//shop:password@"))
            every_operation(engine)
            engine.close()
        finally:
            admin.execute_command("ACL", "DELUSER", "shop")


def every_operation(engine: Any) -> None:
    """All that an engine can do."""
    user = "sessile:user:somebody"
    keys = [f"sessile:app:{digit * 64}".encode() for digit in "abc"]
    life = Life(idle=100)
    engine.ping()
    assert engine.create(keys[0], {b"n": b"1"}, life, user="somebody", limit=3)
    assert engine.load(keys[0]) and engine.load(keys[0], slide=False) and engine.exists(keys[0])
    assert engine.save(keys[0], Changes(set={b"n": b"2"}, increment={b"m": 1}), life, user="other")
    assert engine.rotate(keys[0], keys[1], Changes(), life, user="somebody", hard=True)
    assert engine.create(keys[2], {}, life, user="somebody")
    engine.touch(keys[2])
    assert len(engine.sessions_of("somebody")) == 2, user
    assert engine.end(keys[2]) == 1
    assert engine.end_all("somebody") == 1
