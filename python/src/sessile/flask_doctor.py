"""`flask sessile doctor` and `quart sessile doctor`: what doesn't fit production, and the store.

Cookies obey the framework's settings, also where those are weaker than they could be: this says
so. An app in debug or testing mode isn't in production, so there only the store is looked at.
What always holds: nothing is changed; the exit status is 1 if something needs a look.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import click
from flask.sansio.app import App

from sessile.doctor import Finding, described, tried
from sessile.flask_settings import url_of
from sessile.settings import Settings
from sessile.urls import parse

__all__ = ["commands", "examined", "fit_for_production", "is_named"]


def commands(app: App, settings: Settings, *, named: bool) -> click.Group:
    """The app's commands. `named` is whether somebody said where sessions are kept."""
    group = click.Group("sessile", help="Looks after sessions: doctor.")

    @group.command("doctor", help="Says what works and what doesn't.")
    def doctor() -> None:
        bad = 0
        for good, text in examined(app, settings, named=named):
            bad += not good
            click.echo(f"{'ok  ' if good else 'BAD '} {text}")
        if bad:
            raise click.ClickException(f"{bad} of these need a look")

    return group


def examined(app: App, settings: Settings, *, named: bool) -> Iterator[Finding]:
    """What was looked at."""
    yield from described(settings)
    if app.debug or app.testing:
        yield True, "in debug or testing mode: what production needs is not looked at"
    else:
        yield from fit_for_production(app, settings, named=named)
    yield from tried(settings)


def fit_for_production(app: App, settings: Settings, *, named: bool) -> Iterator[Finding]:
    """What is good for trying out, and not for production."""
    scheme = parse(settings.url).scheme
    if scheme == "memory":
        yield False, "SESSILE_URL is memory: each process would have sessions of its own"
    if scheme == "embedded" and not named:
        text = "sessions are kept by a server that this app starts by itself, on this machine: "
        yield False, text + 'if that is meant, say so by SESSILE_URL = "embedded:"'
    if None in settings.encryption_keys:
        yield False, "SESSILE_ENCRYPTION_KEYS holds None: values that aren't encrypted are accepted"
    yield from fit_cookie(app)


def fit_cookie(app: App) -> Iterator[Finding]:
    """Where the cookie is weaker than it could be."""
    config = app.config
    named = config["SESSION_COOKIE_NAME"].startswith("__Host-")
    secure = bool(config["SESSION_COOKIE_SECURE"])
    yield (
        secure,
        "SESSION_COOKIE_SECURE: the session cookie is "
        + ("only sent over TLS" if secure else "also sent over plain HTTP; set it to True"),
    )
    if not config["SESSION_COOKIE_HTTPONLY"]:
        yield False, "SESSION_COOKIE_HTTPONLY is False: scripts can read the session cookie"
    if str(config["SESSION_COOKIE_SAMESITE"]).lower() not in ("lax", "strict"):
        text = "SESSION_COOKIE_SAMESITE: other sites' forms are sent with the session cookie; "
        yield False, text + 'set it to "Lax"'
    bound = not config["SESSION_COOKIE_DOMAIN"] and app_path(app) == "/"
    if named and not (secure and bound):
        text = "browsers refuse a cookie named __Host-... that has a domain, a path, or no Secure"
        yield False, text
    elif not named:
        text = 'subdomains can overwrite the session cookie; SESSION_COOKIE_NAME = "__Host-session"'
        yield True, text + " keeps them from it"


def app_path(app: App) -> str:
    """The path of the session cookie."""
    return str(app.config["SESSION_COOKIE_PATH"] or app.config["APPLICATION_ROOT"])


def is_named(app: App, given: Mapping[str, Any]) -> bool:
    """Whether anybody said where sessions are kept."""
    said = given.get("url") or app.config.get("SESSILE_URL") or os.environ.get("SESSILE_URL")
    return bool(said) or url_of(app.config) is not None
