"""The shop as a Django application."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in


class Shop(AppConfig):
    """Cuts the one wire from Django's sign-in to a database."""

    name = "shop"

    def ready(self) -> None:
        """`last_login` would be written to a table; this shop has none."""
        user_logged_in.disconnect(dispatch_uid="update_last_login")
