"""URLs of engines: what can't be used is named, and nothing is repeated that is secret."""

from __future__ import annotations

import pytest

from sessile.contract import AsyncEngine, Engine
from sessile.errors import ConfigurationError
from sessile.urls import open_async_engine, open_engine, parse


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "empty"),
        ("redis", "no scheme"),
        ("http://localhost", "'http' is unknown"),
        ("memory:x/y", "only a name"),
        ("memory:?a=1", "unknown option 'a'"),
        ("memory:?a=1&a=2", "twice"),
        ("memory:?a", "well-formed"),
        ("redis://:secret@h/0#x", "fragment"),
    ],
)
@pytest.mark.parametrize("opener", [open_engine, open_async_engine])
def test_a_bad_url_is_named(opener: object, url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opener(url)  # type: ignore[operator]
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)


def test_memory() -> None:
    assert isinstance(open_engine("memory:"), Engine)
    assert isinstance(open_async_engine("MEMORY:"), AsyncEngine)


def test_parts_of_a_url() -> None:
    address = parse("redis://us%40er:p%3Aw@a,b:7,[::1]:8/3?x=a%26b")
    assert (address.username, address.password) == ("us@er", "p:w")
    assert address.hosts(6379) == [("a", 6379), ("b", 7), ("::1", 8)]
    assert (address.path, address.options) == ("/3", {"x": "a&b"})
    for netloc in ("h:0", "h:70000", "h:x", "h:1:2", "[::1", "[::1]7"):
        with pytest.raises(ConfigurationError):
            parse(f"redis://{netloc}").hosts(6379)
