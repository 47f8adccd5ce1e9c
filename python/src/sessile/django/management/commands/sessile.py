"""`manage.py sessile doctor`, `manage.py sessile list USER`, `manage.py sessile end USER`.

USER is what the user signs in with. What always holds: no id is printed, only handles, which
open nothing; the exit status is 1 if the doctor found something that doesn't work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessile.django.checks import fit_for_production, settings_are_good
from sessile.django.config import configured
from sessile.django.devices import devices, end_device, end_devices
from sessile.doctor import described, tried
from sessile.errors import SessileError


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
    yield from described(ours)
    for finding in fit_for_production():
        yield not finding.is_serious(), f"{finding.id}: {finding.msg}"
    yield from tried(ours)


def user_called(name: str) -> Any:
    """The user with this name."""
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(f"no user is called {name!r}") from None
