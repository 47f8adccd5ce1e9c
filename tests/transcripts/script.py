"""The transcript format: cases of requests and the exact replies they must get.

    == name of the case
    # remark
    @only ours: reason        this case runs against our server only (or `real`)
    @since 7.4 reason         Debian's rivals lack it: ours only, replies from the documentation
    @differs reason           licence for `<ours` and `<real` lines in this case
    @conn NAME [resp|memcached]   the next lines belong to this connection
    > SET k "a b"             a RESP command (quotes and escapes), or a memcached line
    >> *1\\r\\n$4\\r\\nPING\\r\\n  raw bytes, exactly these
    < +OK                     one reply line, exact; CRLF is added unless it ends in \\n
    <? :{int 95..100}         one reply line with matchers: {any} {int} {int A..B} {num} {hex}
    <* %{int}                 one whole RESP value whose first line matches
    <until END                lines up to and including this one
    <poll LINE                sends again until the reply is this line (for what time brings)
    <none                     no reply (proved by what the next lines read)
    <closed                   the server ends the connection
    <ours LINE, <real LINE    as `<`, for one side

Escapes: \\r \\n \\t \\0 \\\\ \\" \\xHH and \\{TEXT*N} (TEXT, N times). Files `*.resp` speak RESP
on the first connection, files `*.mc` memcached. Lines not known here are an error, so that a typing
mistake can't switch a check off. Not for timing: nothing in the format waits for a time, only for
a reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", '"': b'"'}
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|\{(.+?)\*(\d+)\}|(.))")
MATCHER = re.compile(r"\{(any|num|hex|int(?: (-?\d+)\.\.(-?\d+))?)\}")
EXPECTS = ("<?", "<*", "<until", "<poll", "<none", "<closed", "<ours", "<real", "<")


class ScriptError(ValueError):
    """A transcript that breaks the format; the message names file and line."""


@dataclass
class Step:
    """A send, and the expectation lines (marker, text) that follow it."""

    conn: str
    send: bytes
    source: str
    expect: list[tuple[str, str]] = field(default_factory=list)
    line: int = 0


@dataclass
class Case:
    """One case; `side` is "both", "ours" or "real", `conns` maps names to protocols."""

    name: str
    path: Path
    line: int
    side: str = "both"
    differs: bool = False
    conns: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def unescape(text: str) -> bytes:
    """The bytes that escaped text stands for."""
    out, at = bytearray(), 0
    for found in ESCAPE.finditer(text):
        out += text[at : found.start()].encode()
        hexed, repeated, times, plain = found.groups()
        if hexed:
            out.append(int(hexed, 16))
        elif repeated:
            out += unescape(repeated) * int(times)
        elif plain in ESCAPES:
            out += ESCAPES[plain]
        else:
            raise ScriptError(f"unknown escape \\{plain}")
        at = found.end()
    return bytes(out + text[at:].encode())


def escape(line: bytes) -> str:
    """Readable text of one received line, as an expectation would have it."""
    body = line[:-2] if line.endswith(b"\r\n") else line
    out = "".join(
        "\\\\" if byte == 92 else chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"
        for byte in body
    )
    out = out.replace("\\x0d", "\\r").replace("\\x0a", "\\n").replace("\\x09", "\\t")
    return re.sub(r"([A-Za-z0-9])\1{79,}", lambda m: f"\\{{{m[1]}*{len(m[0])}}}", out)


def command(text: str) -> bytes:
    """A command line with quotes as the RESP array of its words."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"|((?:\\\{[^}]*\}|\S)+)', text)
    parts = [unescape(quoted or bare) for quoted, bare in words]
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def line_matches(marker: str, text: str, got: bytes) -> bool:
    """Whether one received line is what one expectation line says."""
    if marker not in ("<?", "<*"):
        wanted = unescape(text)
        return got == (wanted if wanted.endswith(b"\n") else wanted + b"\r\n")
    pattern, checks, at = "", [], 0
    for found in MATCHER.finditer(text):
        pattern += re.escape(text[at : found.start()])
        kind = found[1][:3]
        pattern += {"any": "(.*)", "int": r"(-?\d+)", "hex": "([0-9a-f]+)"}.get(
            kind, r"(-?\d+(?:\.\d+)?)"
        )
        checks.append((found[2], found[3]))
        at = found.end()
    hit = re.fullmatch(pattern + re.escape(text[at:]), escape(got))
    if not hit:
        return False
    pairs = zip(checks, hit.groups(), strict=True)
    return all(low is None or int(low) <= int(value) <= int(high) for (low, high), value in pairs)


def parse(path: Path) -> list[Case]:
    """All cases of a file, in order."""
    cases: list[Case] = []
    first = "memcached" if path.suffix == ".mc" else "resp"
    conn = "main"
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            if line.startswith("== "):
                cases.append(Case(line[3:].strip(), path, number, conns={"main": first}))
                conn = "main"
            elif not cases:
                raise ScriptError("a line before the first case")
            elif line.startswith("@"):
                conn = directive(cases[-1], line, conn, first)
            elif line.startswith(">"):
                cases[-1].steps.append(sending(cases[-1], conn, line, number))
            else:
                expectation(cases[-1], line)
        except ScriptError as error:
            raise ScriptError(f"{path.name}:{number}: {error}") from None
    names = [case.name for case in cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ScriptError(f"{path.name}: two cases of one name: {sorted(twice)}")
    return cases


def directive(case: Case, line: str, conn: str, first: str) -> str:
    """Takes an `@` line into the case; the connection that is current from here on."""
    word, _, rest = line.partition(" ")
    if word == "@conn":
        name, _, protocol = rest.partition(" ")
        case.conns.setdefault(name, protocol or first)
        return name
    if word == "@only" and re.match(r"(ours|real): .+", rest):
        case.side = rest[:4]
    elif word == "@since" and re.match(r"[\d.]+ .+", rest):
        case.side = "ours"
    elif word == "@differs" and rest:
        case.differs = True
    else:
        raise ScriptError(f"not a directive with its reason: {line}")
    return conn


def sending(case: Case, conn: str, line: str, number: int) -> Step:
    """The step of a `>` line."""
    if line.startswith(">> "):
        data = unescape(line[3:])
    elif not line.startswith("> "):
        raise ScriptError(f"not a send: {line}")
    elif case.conns[conn] == "resp":
        data = command(line[2:])
    else:
        data = unescape(line[2:]) + b"\r\n"
    return Step(conn, data, line, line=number)


def expectation(case: Case, line: str) -> None:
    """Appends a `<` line to the case's last step."""
    marker = next((mark for mark in EXPECTS if line == mark or line.startswith(mark + " ")), None)
    if marker is None or not case.steps:
        raise ScriptError(f"not an expectation after a send: {line}")
    if marker in ("<ours", "<real") and not case.differs:
        raise ScriptError(f"{marker} without @differs and a reason")
    case.steps[-1].expect.append((marker, line[len(marker) + 1 :]))
