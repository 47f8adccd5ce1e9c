"""The command line tools that people point at a store: redis-cli and memccapable."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess

import pytest
import redis


def run(*command: str, stdin: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """The tool's result; a tool that isn't installed fails the test and is named."""
    assert shutil.which(command[0]), f"{command[0]} is not installed"
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds)


def cli(store, *arguments: str, stdin: str = "") -> str:
    """redis-cli's standard output; a failing exit status fails the test."""
    done = run("redis-cli", "-p", str(store.port), *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_redis_cli_one_shot(store) -> None:
    assert cli(store, "SET", "k", "two words").strip() == "OK"
    assert cli(store, "GET", "k").strip() == "two words"
    assert cli(store, "-3", "HSET", "h", "a", "1").strip() == "1"
    assert cli(store, "-3", "--json", "HGETALL", "h").strip() == '{"a":"1"}'
    assert cli(store, "-x", "SET", "from-stdin", stdin="text\n").strip() == "OK"
    assert cli(store, "-r", "3", "INCR", "n").split() == ["1", "2", "3"]
    assert "WRONGTYPE" in cli(store, "GET", "h")
    assert cli(store, "-n", "5", "DBSIZE").strip() == "0"
    assert "redis_version" in cli(store, "INFO", "server")


def test_redis_cli_reads_commands_from_a_pipe(store) -> None:
    answer = cli(store, stdin='SET k "a\\r\\nb"\nSTRLEN k\nMULTI\nINCR n\nEXEC\n')
    assert answer.split() == ["OK", "4", "OK", "QUEUED", "1"]


def test_redis_cli_mass_insertion(store) -> None:
    commands = "".join(
        f"*3\r\n$3\r\nSET\r\n${len(str(i)) + 1}\r\nk{i}\r\n$1\r\nv\r\n" for i in range(20_000)
    )
    assert "errors: 0, replies: 20000" in cli(store, "--pipe", stdin=commands)


def test_redis_cli_scan_and_bigkeys(store) -> None:
    with redis.Redis(port=store.port) as client, client.pipeline(transaction=False) as pipe:
        for i in range(500):
            pipe.set(f"session:{i}", "v" * i)
        pipe.hset("hash:1", mapping={str(i): i for i in range(50)})
        pipe.execute()
    found = cli(store, "--scan", "--pattern", "session:*").split()
    assert len(set(found)) == 500
    report = cli(store, "--bigkeys")
    assert "Sampled 501 keys" in report
    assert re.search(r"Biggest string found .*session:499.* has 499 bytes", report)
    assert re.search(r"Biggest\s+hash found .*hash:1.* has 50 fields", report)
    assert "Sampled 501 keys" in cli(store, "--memkeys")


def test_redis_cli_stat_prints_a_line(store) -> None:
    command = ["redis-cli", "-p", str(store.port), "--stat", "-i", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(3)]
        finally:
            process.kill()
    assert re.match(r"\d+\s+\S+\s+\d+\s+\d+\s+\d+", lines[2]), lines


def test_redis_cli_latency(store) -> None:
    command = ["redis-cli", "-p", str(store.port), "--raw", "--latency", "-i", "0.1"]
    done = run(*command)
    assert re.match(r"\d+ \d+ [\d.]+ \d+", done.stdout), done


def test_redis_cli_unix_socket(store) -> None:
    done = run("redis-cli", "-s", store.unixsocket, "PING")
    assert done.stdout.strip() == "PONG"


def test_inline_commands_from_a_terminal(store) -> None:
    with socket.create_connection((store.host, store.port), timeout=20) as connection:
        connection.sendall(b'PING\r\nSET k "two words"\nGET k\r\nQUIT\r\n')
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer == b"+PONG\r\n+OK\r\n$9\r\ntwo words\r\n+OK\r\n"


def test_memccapable_text_cases(store) -> None:
    where = ("-h", store.host, "-p", str(store.memcached_port))
    done = run("memccapable", *where, "-a", "-t", "20", seconds=120)
    output = done.stdout + done.stderr
    verdicts = re.findall(r"^(ascii [\w ]+?)\s*\[(\w+)\]$", output, re.MULTILINE)
    bad = [name for name, verdict in verdicts if verdict != "pass"]
    assert len(verdicts) >= 25, output
    assert bad == [], output
    assert done.returncode == 0, output


def test_memcached_tools_copy_and_cat(store, tmp_path) -> None:
    servers = f"--servers={store.memcached}"
    source = tmp_path / "note"
    source.write_text("kept as it is")
    assert run("memccp", servers, str(source)).returncode == 0
    assert run("memccat", servers, "note").stdout.strip() == "kept as it is"
    assert run("memcexist", servers, "note").returncode == 0
    assert run("memcrm", servers, "note").returncode == 0
    assert run("memcexist", servers, "note").returncode != 0


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\n"]
)
def test_http_on_the_redis_port_is_cut(store, request_line: bytes) -> None:
    with socket.create_connection((store.host, store.port), timeout=20) as connection:
        connection.sendall(request_line)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):
                pass
