"""Third-party packages over our sessions; what each does stands in third_party.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stores import World

SCRIPT = Path(__file__).with_name("third_party.py")
CASES = ("rest_framework", "hijack", "formtools", "allauth", "flask_login", "channels")
OAUTH = ("authlib_django", "authlib_flask", "authlib_starlette")


@pytest.mark.parametrize("store", ["redis", "sessile"])
@pytest.mark.parametrize("case", CASES + OAUTH)
def test_a_package_works_from_sign_in_to_sign_out(case: str, store: str, world: World) -> None:
    url = world.redis().url
    if store == "sessile":
        url = world.sessile().redis_url.replace("redis:", "sessile:").removesuffix("/0")
    command = [sys.executable, str(SCRIPT), case, f"{url}?timeout=20&pool_wait=20"]
    source = SCRIPT.parents[1] / "src"
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(source), "PATH": ""},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "all of it"), done.stderr[-3000:]
