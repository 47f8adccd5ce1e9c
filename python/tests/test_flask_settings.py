"""Flask-Session's settings: each store that they name is found, whatever else is named."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pymemcache
import pytest
import redis
import redis.asyncio
from pymemcache.client.retrying import RetryingClient

from sessile import redis_url, urls
from sessile.errors import ConfigurationError
from sessile.flask import configured
from sessile.ids import URL_SAFE

PASSWORD = "p@ss:w/rd?"


def sentinel(**options: Any) -> Any:
    guards = {"password": PASSWORD, "ssl": options.get("ssl", False)}
    hosts = [("one", 26380), ("::1", 26379)]
    return redis.Sentinel(hosts, sentinel_kwargs=guards, **options).master_for("main")


REDIS = {
    "nothing": (None, "redis://localhost:6379/0"),
    "host": (redis.Redis("cache", 6380, 2), "redis://cache:6380/2"),
    "v6": (redis.Redis("::1"), "redis://[::1]:6379/0"),
    "password": (redis.Redis(password=PASSWORD), "redis://:p%40ss%3Aw%2Frd%3F@localhost:6379/0"),
    "number": (redis.Redis(password=4711), "redis://:4711@localhost:6379/0"),  # type: ignore[arg-type]
    "bytes": (redis.Redis(password=b"p@"), "redis://:p%40@localhost:6379/0"),  # type: ignore[arg-type]
    "user": (redis.Redis(username="a@b", password="x"), "redis://a%40b:x@localhost:6379/0"),
    "tls": (redis.Redis(ssl=True, password="x"), "rediss://:x@localhost:6379/0"),
    "files": (
        redis.Redis(ssl=True, ssl_ca_certs="/a b", ssl_certfile="/c", ssl_keyfile="/k"),
        "rediss://localhost:6379/0?ca=%2Fa+b&cert=%2Fc&key=%2Fk",
    ),
    "socket": (
        redis.Redis(unix_socket_path="/run/a b", db=3),
        "redis+unix:///run/a%20b?database=3",
    ),
    "socket with login": (
        redis.Redis(unix_socket_path="/run/s", password="x"),
        "redis+unix://:x@/run/s",
    ),
    "url": (redis.Redis.from_url("rediss://u:p@host:1/4"), "rediss://u:p@host:1/4"),
    "asyncio": (redis.asyncio.Redis(ssl=True, password="x"), "rediss://:x@localhost:6379/0"),
    "sentinels": (
        sentinel(db=4, password="x"),
        "redis+sentinel://:x@one:26380,[::1]:26379/main/4?sentinel_password=p%40ss%3Aw%2Frd%3F",
    ),
    "sentinels with tls": (
        sentinel(ssl=True, ssl_ca_certs="/ca"),
        "redis+sentinel://one:26380,[::1]:26379/main/0?ca=%2Fca&tls=1"
        "&sentinel_password=p%40ss%3Aw%2Frd%3F",
    ),
}


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSILE_URL", raising=False)


def app_with(**config: Any) -> Any:
    """An app of which nothing is known but its configuration."""
    return SimpleNamespace(config=config, instance_path="/instance", debug=False)


def url_with(**config: Any) -> str:
    return configured(app_with(**config), {}).url


@pytest.mark.parametrize("name", REDIS)
def test_a_redis_is_found_with_login_and_tls(name: str) -> None:
    client, url = REDIS[name]
    assert url_with(SESSION_TYPE="redis", SESSION_REDIS=client) == url
    ours = redis_url.settings(urls.parse(url))
    if client is None or name.startswith("sentinels"):
        return
    theirs = client.connection_pool.connection_kwargs
    login = {key: text(theirs[key]) for key in ("username", "password") if theirs.get(key)}
    assert (ours.login, ours.database) == (login, int(theirs.get("db") or 0))
    place = (theirs["path"], 0) if "path" in theirs else (theirs["host"], theirs["port"])
    assert ours.nodes == (place,)
    assert (ours.tls is not None) == ("SSL" in client.connection_pool.connection_class.__name__)


def text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def test_sentinels_are_all_found() -> None:
    ours = redis_url.settings(urls.parse(REDIS["sentinels with tls"][1]))
    assert (ours.kind, ours.group, ours.nodes) == (
        "sentinel",
        "main",
        (("one", 26380), ("::1", 26379)),
    )
    assert ours.sentinel_login == {"password": PASSWORD}
    assert ours.tls is not None and ours.tls["ssl_ca_certs"] == "/ca"


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSILE_URL", "redis://elsewhere")
    assert url_with(SESSION_TYPE="redis") == "redis://elsewhere"
    assert url_with(SESSION_TYPE="redis", SESSILE_URL="memory:") == "memory:"


class Addressed:
    """As pylibmc's and libmc's clients."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses


MEMCACHED = {
    "nothing": (None, "memcached://localhost:11211"),
    "client": (pymemcache.Client(("one", 1)), "memcached://one:1"),
    "pooled": (pymemcache.PooledClient("one"), "memcached://one:11211"),
    "retrying": (RetryingClient(pymemcache.Client("one:1")), "memcached://one:1"),
    "hash": (pymemcache.HashClient(["one:1", ("::1", 2)]), "memcached://one:1,[::1]:2"),
    "pylibmc": (Addressed("one", "two:2", "[::1]:3"), "memcached://one:11211,two:2,[::1]:3"),
    "python-memcached": (
        SimpleNamespace(servers=[SimpleNamespace(ip="one", port=1)]),
        "memcached://one:1",
    ),
}


@pytest.mark.parametrize("name", MEMCACHED)
def test_a_memcached_is_found(name: str) -> None:
    client, url = MEMCACHED[name]
    assert url_with(SESSION_TYPE="Memcached", SESSION_MEMCACHED=client) == url
    urls.open_engine(url)


def test_pylibmc_says_its_addresses() -> None:
    pylibmc = pytest.importorskip("pylibmc")
    client = pylibmc.Client(["127.0.0.1", "[::1]:2"])
    url = url_with(SESSION_TYPE="memcached", SESSION_MEMCACHED=client)
    assert url == "memcached://127.0.0.1:11211,[::1]:2"


class Provider(redis.CredentialProvider):
    def get_credentials(self) -> tuple[str, str]:
        return ("user", PASSWORD)


def half_secure() -> Any:
    return redis.Sentinel([("one", 1)], ssl=True, sentinel_kwargs={"ssl": False}).master_for("main")


@pytest.mark.parametrize(
    ("kind", "client", "said"),
    [
        ("redis", redis.Redis(credential_provider=Provider()), "credential_provider"),
        ("redis", SimpleNamespace(nodes_manager=None), "redis\\+cluster"),
        ("redis", half_secure(), "to all of them or to none"),
        ("memcached", pymemcache.Client("/run/sock"), "Client aren't understood"),
        ("memcached", SimpleNamespace(), "aren't understood"),
        ("memcached", Addressed("udp:one"), "not host:port"),
    ],
)
def test_what_no_url_can_say_is_refused(kind: str, client: Any, said: str) -> None:
    config = {"SESSION_TYPE": kind, f"SESSION_{kind.upper()}": client}
    with pytest.raises(ConfigurationError, match=said) as refused:
        url_with(**config)
    assert PASSWORD not in str(refused.value)
    assert url_with(**config, SESSILE_URL="memory:") == "memory:", "nothing needs to be understood"


@pytest.mark.parametrize("kind", ["filesystem", "cachelib", "mongodb", "sqlalchemy", "dynamodb"])
def test_other_stores_are_named(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    url = unquote(url_with(SESSION_TYPE=kind))
    assert url.startswith("embedded:/instance/.sessile")
    assert f"SESSION_TYPE='{kind}'" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_USE_SIGNER", True),
        ("SESSION_SERIALIZATION_FORMAT", "json"),
        ("SESSION_CLEANUP_N_REQUESTS", 100),
    ],
)
def test_what_has_no_effect_is_named(
    name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "sessile"):
        url_with(SESSILE_URL="memory:", **{name: None})
        assert not caplog.text
        url_with(SESSILE_URL="memory:", **{name: value})
    assert f"{name} of Flask-Session has no effect" in caplog.text


def test_certificates_are_checked_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    client = redis.Redis(ssl=True, ssl_cert_reqs="none")
    assert url_with(SESSION_TYPE="redis", SESSION_REDIS=client).startswith("rediss://")
    assert "they are always checked" in caplog.text


@pytest.mark.parametrize(
    ("count", "length"), [(None, 43), (19, 26), (24, 32), (32, 43), (47, 63), (18, 43), (48, 43)]
)
def test_ids_are_as_long_as_flask_session_s(
    count: int | None, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """But for those that can be guessed, or look like a handle."""
    shape = configured(app_with(SESSION_ID_LENGTH=count, SESSILE_URL="memory:"), {}).shape
    assert (shape.alphabet, shape.length) == (URL_SAFE.alphabet, length)
    assert ("SESSION_ID_LENGTH" in caplog.text) == (count in (18, 48))
    # Those that were given while it had no effect stay good.
    for count, fits in {length: True, 43: True, length + 1: False, 42: False}.items():
        assert shape.fits("x" * count) is fits
