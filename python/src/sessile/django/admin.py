"""The admin's page of sessions: who is signed in where, and End, End all. Nothing is edited.

Sessions are listed by user: stores know a user's sessions, and nobody needs a list of all. What
always holds: looking needs the permission to view sessions, ending the one to delete them; ids
are never on the page.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.http import urlencode
from django.utils.translation import ngettext

from sessile.django.devices import devices, end_device, end_devices
from sessile.django.models import Session
from sessile.errors import NotSupported, SessionUnavailable

__all__ = ["SessionAdmin"]

USERS_MAX = 20


# Where Django's types are installed it has a parameter, which can't be given at run time.
@admin.register(Session)
class SessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg, unused-ignore]
    """One page; everything else of a ModelAdmin is refused."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        return [url for url in super().get_urls() if url.name and url.name.endswith("_changelist")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The sessions of users whose name is or contains what was asked for."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self.end(request)
        query = request.GET.get("q", "").strip()
        problem = ""
        rows = []
        try:
            rows = [(user, devices(user, request)) for user in found(request, query)]
        except (NotSupported, SessionUnavailable) as error:
            problem = str(error)
        context = {
            **self.admin_site.each_context(request),
            "title": "Sessions",
            "opts": self.opts,
            "query": query,
            "rows": rows,
            "problem": problem,
            "users_max": USERS_MAX,
            "may_end": self.has_delete_permission(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/sessile/session/change_list.html", context)

    def end(self, request: HttpRequest) -> HttpResponse:
        """Ends one session of a user, or all but the one that asks."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        user = get_user_model()._default_manager.filter(pk=request.POST.get("user")).first()
        handle = request.POST.get("handle", "")
        count = 0
        try:
            if user is not None and handle:
                count = int(end_device(user, handle))
            elif user is not None:
                count = end_devices(user, keep=request)
            text, level = (
                ngettext("%d session ended.", "%d sessions ended.", count),
                messages.SUCCESS,
            )
            text %= count
        except NotSupported as error:
            text, level = str(error), messages.ERROR
        self.message_user(request, text, level)
        query = urlencode({"q": request.POST.get("q", "")})
        return HttpResponseRedirect(f"{request.path}?{query}")


def found(request: HttpRequest, query: str) -> list[Any]:
    """The users that were asked for; without a question, whoever asks."""
    if not query:
        return [request.user]
    model = get_user_model()
    field = f"{model.USERNAME_FIELD}__icontains"
    return list(model._default_manager.filter(**{field: query}).order_by("pk")[:USERS_MAX])
