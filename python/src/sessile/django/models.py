"""What the admin needs to know of sessions. There is no table: sessions are in the store."""

from __future__ import annotations

from django.db import models

__all__ = ["Session"]


class Session(models.Model):
    """A session by its handle. Only for the admin's page and its permissions."""

    handle = models.CharField(primary_key=True, max_length=64)

    class Meta:
        managed = False
        default_permissions = ("view", "delete")
