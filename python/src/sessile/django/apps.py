"""`INSTALLED_APPS = [..., "sessile.django"]`: checks, commands and the admin's page."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from sessile.django import checks

__all__ = ["Sessile"]


class Sessile(AppConfig):
    """The app. Its label is `sessile`; it has no tables."""

    name = "sessile.django"
    label = "sessile"
    verbose_name = "Sessions"
    default_auto_field = "django.db.models.AutoField"

    def ready(self) -> None:
        register(checks.settings_are_good)
        register(checks.fit_for_production, deploy=True)
