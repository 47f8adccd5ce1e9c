#!/usr/bin/env python3
"""User-side instructions per request, counted by valgrind's callgrind: the same on a busy machine.

usage: measure_instructions.py --sessile BIN [--against FILE] [--write FILE] [COMMAND...]

BIN is a release build with `--features valgrind`. 32 connections, values of 512 bytes, 10,000 keys.
--against FILE: an error if a command takes 3 % more than it says there. --write FILE: for the next
time. Counts are of one build on one kind of processor: compare like with like.
"""

import argparse
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

REQUESTS = 40_000
KEY = "key:__rand_int__"
COMMANDS = {
    "GET": (("-t", "set"), ("-t", "get")),
    "SET": (("-t", "set"), ("-t", "set")),
    "HGET": (("HSET", KEY, "a", "x" * 256, "b", "y"), ("HGET", KEY, "b")),
    "HSET": (("HSET", KEY, "a", "x" * 256, "b", "y"), ("HSET", KEY, "b", "z")),
    "SESSION.LOAD": (
        ("SESSION.CREATE", KEY, "IDLE", "600", "SET", "2", "a", "x" * 256, "b", "1"),
        ("SESSION.LOAD", KEY),
    ),
    "SESSION.SAVE": (
        ("SESSION.CREATE", KEY, "IDLE", "600", "SET", "2", "a", "x" * 256, "b", "1"),
        ("SESSION.SAVE", KEY, "SET", "1", "b", "2"),
    ),
}
"""Of each command what fills the store for it, and the command itself."""
MORE = 1.03
"""The most that a command may take over what it took before."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def load(port, words, requests, pipeline):
    command = ["redis-benchmark", "-p", str(port), "-n", str(requests), "-c", "32"]
    command += ["-P", str(pipeline), "-r", "10000", "-d", "512", "-q", *words]
    subprocess.run(command, capture_output=True, check=True, timeout=120)


def control(switch):
    # Without a process id it reaches every callgrind of this user, and finds ours surely.
    subprocess.run(["callgrind_control", "-i", switch], capture_output=True, timeout=30, check=True)


def count(binary, name, pipeline):
    fill, test = COMMANDS[name]
    work = pathlib.Path(tempfile.mkdtemp())
    out, port = work / "callgrind.out", free_port()
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
    command += [f"--callgrind-out-file={out}", binary, "--port", str(port), "--memcached-port", "0"]
    command += ["--appendonly", "no"]
    command += ["--io-threads", "1", "--shards", "16", "--arena-max", "512mb"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if not any("Ready to accept connections" in line for line in server.stdout):
            sys.exit("the server ended at once; was it built with --features valgrind?")
        load(port, fill, 20_000, 16)
        control("on")
        load(port, test, REQUESTS, pipeline)
        control("off")
        server.terminate()
        end = time.monotonic() + 30
        while server.poll() is None and time.monotonic() < end:
            server.stdout.readline()
        totals = re.findall(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)
        return max(int(total) for total in totals) / REQUESTS
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessile", required=True)
    parser.add_argument("--against", type=pathlib.Path)
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", default=list(COMMANDS))
    options = parser.parse_args()
    binary = str(pathlib.Path(options.sessile).resolve())
    before = json.loads(options.against.read_text()) if options.against else {}
    counted, worse = {}, []
    for name in options.commands:
        for pipeline in (1, 16):
            what = f"{name} pipeline {pipeline}"
            counted[what] = round(count(binary, name, pipeline))
            told = f"{what:24} {counted[what]:7} instructions per request"
            if what in before:
                ratio = counted[what] / before[what]
                told += f"  {ratio:.3f} of what it took"
                if ratio > MORE:
                    worse.append(what)
            print(told, flush=True)
    if options.write:
        options.write.write_text(json.dumps(counted, indent=1) + "\n")
    if worse:
        sys.exit(f"these take more than {MORE:.2f} times what they took: {', '.join(worse)}")


main()
