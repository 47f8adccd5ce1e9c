"""The house check finds what it is there to find, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import house


@pytest.fixture
def checkout(tmp_path: Path):
    """A small checkout; call with path and text to add a file."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    def add(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    add("crates/node/src/lib.rs", "#![forbid(unsafe_code)]\n")
    return add


def package(name: str, *dependencies: str) -> dict:
    rows = [{"name": dependency} for dependency in dependencies]
    return {"name": name, "manifest_path": f"/r/crates/{name}/Cargo.toml", "dependencies": rows}


def test_edges_point_one_way() -> None:
    fine = [
        package("sessile-layout", "siphasher"),
        package("sessile-engine", "sessile-layout", "smallvec"),
        package("sessile-protocol"),
        package("sessile-commands", "sessile-engine", "sessile-protocol"),
    ]
    assert house.judge_edges(fine, Path("/r")) == []
    bad = [*fine, package("sessile-bench", "sessile-engine"), package("sessile-shiny")]
    bench, shiny = house.judge_edges(bad, Path("/r"))
    assert "bench must not depend on engine" in bench
    assert "shiny is not in EDGES" in shiny


def test_nobody_imports_the_server_and_edges_have_no_cycle() -> None:
    assert all("server" not in allowed for allowed in house.EDGES.values())
    order = list(house.EDGES)
    for name, allowed in house.EDGES.items():
        assert all(order.index(other) < order.index(name) for other in allowed)


def test_long_files(checkout) -> None:
    root = checkout("demo/ok.py", "x\n" * 700)
    assert house.size(root) == []
    checkout("demo/long.py", "x\n" * 701)
    checkout("docs/long.md", "x\n" * 900)
    assert house.size(root) == ["demo/long.py:701: longer than 700 lines"]


def test_paths_in_the_maps(checkout) -> None:
    text = "See `crates/node/src/lib.rs`, `node/src/lib.rs`, [x](tools/) and `GET/SET`.\n"
    text += "But `tools/gone.py:12`, `STYLE.md`. Each crate's `row.rs`.\n"
    root = checkout("README.md", text)
    checkout("tools/there.py", "")
    checkout("crates/commands/src/row.rs", "")
    assert house.paths(root) == [
        "README.md:2: there is no tools/gone.py",
        "README.md:2: there is no STYLE.md",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "use std::time::Instant;\n",
        "use std::{collections::HashMap, fs};\n",
        "use std::{\n    io,\n    time::{Duration, SystemTime},\n};\n",
        "fn f() { std::thread::spawn(|| ()); }\n",
        "use std::os::unix::net::UnixStream;\n",
        "let now = Instant::now();\n",
    ],
)
def test_the_world_outside(checkout, source: str) -> None:
    root = checkout("crates/engine/src/lib.rs", source)
    assert len(house.world(root)) >= 1
    assert house.world(root)[0].startswith("crates/engine/src/lib.rs:1:")


@pytest.mark.parametrize(
    "source",
    [
        "use std::time::Duration;\nuse std::collections::HashMap;\n",
        "// std::fs is not for us\n/* Instant::now */\n",
        'const X: &str = "std::thread";\nconst Y: &str = r#"std::net"#;\n',
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n",
        "fn life<'a>(x: &'a str) -> char { '\"' } // std::fs\n",
    ],
)
def test_what_only_looks_like_it(checkout, source: str) -> None:
    assert house.world(checkout("crates/engine/src/lib.rs", source)) == []


def test_files_of_test_modules_may_use_the_world(checkout) -> None:
    root = checkout("crates/engine/src/lib.rs", "#[cfg(test)]\npub(crate) mod testing;\nmod a;\n")
    checkout("crates/engine/src/testing.rs", "use std::thread;\n")
    checkout("crates/engine/src/a.rs", "#[cfg(test)]\nmod deep;\n")
    checkout("crates/engine/src/a/deep/more.rs", "use std::thread;\n")
    assert house.world(root) == []
    checkout("crates/engine/src/deep.rs", "use std::thread;\n")
    assert set(house.world(root)) == {"crates/engine/src/deep.rs:1: starts threads"}


def test_the_shell_may_use_the_world(checkout) -> None:
    assert house.world(checkout("crates/server/src/main.rs", "use std::fs;\n")) == []


def test_unsafe_places(checkout) -> None:
    root = checkout("crates/layout/src/memory.rs", "unsafe { x() }\n")
    checkout("crates/engine/src/arena.rs", "unsafe { x() }\n")
    checkout("crates/engine/src/arena/map.rs", "unsafe { x() }\n")
    checkout("crates/server/src/os/epoll.rs", "unsafe { x() }\n")
    assert house.unsafe(root) == []
    checkout("crates/engine/src/shard.rs", "// unsafe\nfn f() {\n    unsafe { x() }\n}\n")
    assert house.unsafe(root) == ["crates/engine/src/shard.rs:3: unsafe is not allowed here"]


def test_pure_crates_forbid_it_at_the_root(checkout) -> None:
    root = checkout("crates/protocol/src/lib.rs", "//! Bytes.\n")
    assert house.unsafe(root) == ["crates/protocol/src/lib.rs:1: lacks #![forbid(unsafe_code)]"]


def test_flatten() -> None:
    assert list(house.flatten("a::{b,c::{d,e},self}")) == ["a::b", "a::c::d", "a::c::e", "a::self"]
