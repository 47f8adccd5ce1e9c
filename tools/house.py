"""The house rules that no compiler checks, as a test: `make lint` runs all of them.

- edges: a crate depends on the crates that EDGES allows, and on no others of ours.
- size: no source file is longer than 700 lines.
- paths: every path that README.md and ARCHITECTURE.md name exists.
- world: engine, protocol and commands know no clock, file, socket or thread.
- unsafe: the word appears only where UNSAFE allows it; every other crate forbids it at its root.

Each rule is a function from a checkout to a list of complaints of the form `path:line: what`.
Rust is read with comments, strings and test modules (trailing ones, and files declared under
`#[cfg(test)]`) blanked out, not parsed. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "sessile-"

# What each crate may depend on, from the bottom up. A new crate or edge is decided here.
EDGES: dict[str, set[str]] = {
    "layout": set(),
    "engine": {"layout"},
    "protocol": set(),
    "commands": {"engine", "protocol"},
    "persist": {"engine", "protocol"},
    "replication": {"engine", "protocol", "commands", "persist"},
    "node": {"engine", "protocol", "commands", "persist", "replication"},
    "server": {"engine", "protocol", "commands", "persist", "replication", "node"},
    "bench": {"protocol"},
    "python": {"layout"},
}
PURE = ("engine", "protocol", "commands")
WORLD = {
    r"std::time::(?:Instant|SystemTime)\b": "reads the clock: take `now` as a parameter",
    r"\b(?:Instant|SystemTime)::now\b": "reads the clock: take `now` as a parameter",
    r"std::fs\b": "touches files",
    r"std::net\b": "touches sockets",
    r"std::os::unix::net\b": "touches sockets",
    r"std::thread\b": "starts threads",
}
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;")
# Besides the shells of the machine: the heap meter of the node's tests, which wraps the allocator.
UNSAFE = (
    "crates/layout/src/",
    "crates/engine/src/arena",
    "crates/server/src/os",
    "crates/node/tests/node/heap.rs",
    "python/native/ready.rs",
)
MAY_CONTAIN_UNSAFE = ("layout", "engine", "server")
LONGEST_FILE = 700
SOURCES = {".rs", ".py", ".c", ".h", ".sh", ".js", ".css", ".html", ".pyi"}
MAPS = ("README.md", "ARCHITECTURE.md")
TOP_FOLDERS = ("crates", "python", "demo", "fuzz", "tests", "tools", "docs", ".ci")


def edges(root: Path) -> list[str]:
    """Dependencies between our crates, dev and build dependencies included, against EDGES."""
    command = ["cargo", "metadata", "--no-deps", "--locked", "--format-version", "1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"Cargo.toml:1: cargo metadata failed: {done.stderr.strip()}"]
    return judge_edges(json.loads(done.stdout)["packages"], root)


def judge_edges(packages: list[dict], root: Path) -> list[str]:
    """The rule itself, over what `cargo metadata` printed."""
    complaints = []
    ours = {package["name"] for package in packages}
    for package in packages:
        name = package["name"].removeprefix(PREFIX)
        where = f"{Path(package['manifest_path']).relative_to(root)}:1:"
        if name not in EDGES:
            complaints.append(f"{where} crate {name} is not in EDGES (tools/house.py)")
            continue
        used = {row["name"] for row in package["dependencies"] if row["name"] in ours}
        for other in sorted(name.removeprefix(PREFIX) for name in used):
            if other not in EDGES[name]:
                complaints.append(f"{where} {name} must not depend on {other}")
    return complaints


def size(root: Path) -> list[str]:
    """Files over LONGEST_FILE lines."""
    complaints = []
    for path in files(root):
        if path.suffix in SOURCES:
            lines = len(path.read_text(errors="replace").splitlines())
            if lines > LONGEST_FILE:
                where = path.relative_to(root)
                complaints.append(f"{where}:{lines}: longer than {LONGEST_FILE} lines")
    return complaints


def paths(root: Path) -> list[str]:
    """Paths in code spans and relative links of MAPS that don't exist; a bare name may be any."""
    complaints = []
    homes = (root, root / "crates")
    for name in MAPS:
        document = root / name
        if not document.exists():
            continue
        for number, line in enumerate(document.read_text().splitlines(), 1):
            for path in named_paths(line):
                anywhere = "/" not in path and any(root.glob(f"crates/*/src/**/{path}"))
                if not anywhere and not any((base / path).exists() for base in homes):
                    complaints.append(f"{name}:{number}: there is no {path}")
    return complaints


def named_paths(line: str) -> Iterator[str]:
    """The paths that a line of Markdown names: below a top folder, or with a known ending."""
    spans = re.findall(r"`([^`\s]+)`", line) + re.findall(r"\]\(([^)\s#]+)", line)
    for span in spans:
        path = span.split(":")[0] if not span.startswith("http") else ""
        if not re.fullmatch(r"[\w./-]+", path) or path.startswith("/"):
            continue
        below = path.split("/")[0] in TOP_FOLDERS and "/" in path
        crate_file = "/" in path and path.split("/")[0] in EDGES
        if below or crate_file or re.search(r"[\w-]\.(rs|md|py|toml|sh)$", path):
            yield path


def world(root: Path) -> list[str]:
    """Uses of the outside world in the pure crates."""
    complaints = []
    sources = rust(root, *(f"crates/{name}/src" for name in PURE))
    for path in sorted(set(sources) - set(test_files(sources))):
        for number, line in code_lines(path.read_text()):
            for pattern, what in WORLD.items():
                if re.search(pattern, line):
                    complaints.append(f"{path.relative_to(root)}:{number}: {what}")
                    break
    return complaints


def test_files(sources: Iterable[Path]) -> Iterator[Path]:
    """The files of modules that are declared `#[cfg(test)] mod name;`, with all below them."""
    sources = list(sources)
    for path in sources:
        home = path.parent if path.stem in ("lib", "main", "mod") else path.with_suffix("")
        for name in TEST_MODULE.findall(blank(path.read_text())):
            for other in sources:
                if other == home / f"{name}.rs" or home / name in other.parents:
                    yield other


def unsafe(root: Path) -> list[str]:
    """`unsafe` outside its places, and crates that should forbid it but don't."""
    complaints = []
    for path in rust(root, "crates", "python/native"):
        where = str(path.relative_to(root))
        if where.startswith(UNSAFE):
            continue
        for number, line in enumerate(blank(path.read_text()).splitlines(), 1):
            if re.search(r"\bunsafe\b", line):
                complaints.append(f"{where}:{number}: unsafe is not allowed here")
    for crate in sorted((root / "crates").iterdir()):
        heads = [crate / "src/lib.rs", crate / "src/main.rs"]
        for head in (head for head in heads if head.exists()):
            forbids = "#![forbid(unsafe_code)]" in head.read_text()
            if crate.name not in MAY_CONTAIN_UNSAFE and not forbids:
                complaints.append(f"{head.relative_to(root)}:1: lacks #![forbid(unsafe_code)]")
    return complaints


def files(root: Path) -> list[Path]:
    """Everything that is or could be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    found = {root / name for name in done.stdout.split("\0") if name}
    return sorted(path for path in found if path.is_file())


def rust(root: Path, *folders: str) -> list[Path]:
    """Rust sources below these folders."""
    return sorted(path for folder in folders for path in (root / folder).rglob("*.rs"))


def code_lines(source: str) -> Iterator[tuple[int, str]]:
    """Numbered statements of a source without its test module; a grouped `use` is spelled out."""
    text = blank(source)
    tests = re.search(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*\{", text)
    text = text[: tests.start()] if tests else text
    for match in re.finditer(r"\buse\s+([^;]+);", text):
        number = text.count("\n", 0, match.start()) + 1
        for path in flatten("".join(match.group(1).split())):
            yield number, path
    for number, line in enumerate(text.splitlines(), 1):
        yield number, line


def flatten(tree: str) -> Iterator[str]:
    """`a::{b,c::{d,e}}` as `a::b`, `a::c::d`, `a::c::e`."""
    opening = tree.find("{")
    if opening < 0:
        yield tree
        return
    depth, start, inner = 0, opening + 1, tree[: tree.rfind("}")]
    for position in range(opening + 1, len(inner) + 1):
        here = inner[position : position + 1]
        depth += (here == "{") - (here == "}")
        if position == len(inner) or (here == "," and depth == 0):
            for tail in flatten(inner[start:position]) if position > start else ():
                yield tree[:opening] + tail
            start = position + 1


LITERALS = re.compile(
    r"""
      //[^\n]*                                  # line comment
    | /\*.*?\*/                                 # block comment (nested ones don't occur)
    | \bb?r(?P<hashes>\#*)".*?"(?P=hashes)      # raw string
    | b?"(?:\\.|[^"\\])*"                       # string
    | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'   # character, not a lifetime
    """,
    re.VERBOSE | re.DOTALL,
)


def blank(source: str) -> str:
    """The source with comments and literals replaced by as many newlines as they held."""
    return LITERALS.sub(lambda match: " " + "\n" * match.group(0).count("\n"), source)


RULES: dict[str, Callable[[Path], list[str]]] = {
    "edges": edges,
    "size": size,
    "paths": paths,
    "world": world,
    "unsafe": unsafe,
}


def main(arguments: Iterable[str] | None = None) -> int:
    """Prints the complaints; exit 1 if there are any."""
    parser = argparse.ArgumentParser(description="Checks the house rules.")
    parser.add_argument("--only", choices=RULES, action="append", help="check this rule only")
    chosen = parser.parse_args(arguments).only or list(RULES)
    complaints = [row for name in chosen for row in RULES[name](ROOT)]
    for row in complaints:
        print(row)
    print(f"house: {', '.join(chosen)}: {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
