"""`manage.py sessile doctor`, `manage.py sessile list USER`, `manage.py sessile end USER`.

USER is what the user signs in with. What always holds: no id is printed, only handles, which
open nothing; the exit status is 1 if the doctor found something that doesn't work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessile.contract import Changes, Life
from sessile.django.checks import fit_for_production, on_redis, settings_are_good
from sessile.django.config import configured
from sessile.django.devices import devices, end_device, end_devices
from sessile.errors import NotSupported, SessileError
from sessile.session import Session
from sessile.urls import parse


class Command(BaseCommand):
    """Looks after sessions."""

    help = "Looks after sessions: doctor, list USER, end USER."

    def add_arguments(self, parser: CommandParser) -> None:
        parts = parser.add_subparsers(dest="part", required=True)
        parts.add_parser("doctor", help="says what works and what doesn't")
        listing = parts.add_parser("list", help="shows a user's sessions")
        listing.add_argument("user")
        ending = parts.add_parser("end", help="ends a user's sessions, or one of them")
        ending.add_argument("user")
        ending.add_argument("--handle", help="the session to end, as `list` shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        part: Callable[..., None] = getattr(self, options["part"])
        try:
            part(options)
        except SessileError as error:
            raise CommandError(str(error)) from error

    def doctor(self, options: dict[str, Any]) -> None:
        """Settings, then the store, by using it."""
        bad = 0
        for good, text in examined():
            bad += not good
            self.stdout.write(f"{'ok  ' if good else 'BAD '} {text}")
        if bad:
            raise CommandError(f"{bad} of these need a look")

    def list(self, options: dict[str, Any]) -> None:
        rows = devices(user_called(options["user"]))
        for row in rows:
            seen = row.last_seen.isoformat(" ", "seconds")
            self.stdout.write(f"{row.handle}  last seen {seen}  {row.name or 'unknown device'}")
        self.stdout.write(f"{len(rows)} sessions")

    def end(self, options: dict[str, Any]) -> None:
        user = user_called(options["user"])
        handle = options["handle"]
        count = int(end_device(user, handle)) if handle else end_devices(user)
        self.stdout.write(f"{count} sessions ended")


def examined() -> Iterator[tuple[bool, str]]:
    """What was looked at: whether it's good, and what it is."""
    for finding in settings_are_good():
        yield not finding.is_serious(), f"{finding.id}: {finding.msg}"
        if finding.id == "sessile.E001":
            return
    ours = configured()
    yield True, f"settings: {parse(ours.url).scheme}:, namespace {ours.namespace!r}"
    if keys := [key for key in ours.encryption_keys if key is not None]:
        seals = "the first seals" if ours.encryption_keys[0] else "none seals"
        yield True, f"encryption: keys that open values: {len(keys)}, of which {seals}"
    for finding in fit_for_production():
        yield not finding.is_serious(), f"{finding.id}: {finding.msg}"
    if on_redis(ours):
        from sessile.redis_health import examined as nodes_of

        yield from nodes_of(ours.url)
    try:
        began = time.perf_counter()
        ours.engine().ping()
        yield True, f"the store answers in {(time.perf_counter() - began) * 1e6:.0f} µs"
        yield from tried(ours)
    except SessileError as error:
        yield False, f"{type(error).__name__}: {error}"


def tried(ours: Any) -> Iterator[tuple[bool, str]]:
    """A session of the doctor's own, made, changed, found and ended."""
    engine, user = ours.engine(), ours.user("sessile-doctor")
    key = Session(ours)._keys(Session(ours).rotate())[0]
    made = engine.create(key, {}, Life(idle=60), user=user)
    changed = engine.save(key, Changes(set={b"a": b"1 0"}), Life())
    yield made is not None and changed is not None, "a session can be made and changed"
    try:
        listed = any(row.key == key for row in engine.sessions_of(user))
        yield listed, "a user's sessions can be listed"
    except NotSupported:
        yield True, "a user's sessions can't be listed in this store"
    ended = engine.end(key) == 1 and engine.save(key, Changes(), Life()) is None
    yield ended, "a session that was ended stays ended"


def user_called(name: str) -> Any:
    """The user with this name."""
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(f"no user is called {name!r}") from None
