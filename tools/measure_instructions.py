#!/usr/bin/env python3
"""User-side instructions per request, counted by valgrind's callgrind: the same on a busy machine.

usage: measure_instructions.py --sessile BIN

BIN is a release build with `--features valgrind`. 32 connections, values of 512 bytes, 10,000 keys.
"""

import argparse
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

REQUESTS = 40_000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def load(port, test, requests, pipeline):
    command = ["redis-benchmark", "-p", str(port), "-t", test, "-n", str(requests), "-c", "32"]
    command += ["-P", str(pipeline), "-r", "10000", "-d", "512", "-q"]
    subprocess.run(command, capture_output=True, check=True, timeout=120)


def control(switch):
    # Without a process id it reaches every callgrind of this user, and finds ours surely.
    subprocess.run(["callgrind_control", "-i", switch], capture_output=True, timeout=30, check=True)


def count(binary, test, pipeline):
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
        load(port, "set", 20_000, 16)
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
    binary = str(pathlib.Path(parser.parse_args().sessile).resolve())
    for test in ("get", "set"):
        for pipeline in (1, 16):
            per_request = count(binary, test, pipeline)
            what = f"{test.upper()} pipeline {pipeline:2}"
            print(f"{what}: {per_request:7.0f} instructions per request")


main()
