"""The shop's pages. Everything that changes something is a POST and ends in a redirect."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from shop import cart, devices, facts
from shop.catalogue import BY_SLUG, PRODUCTS


@require_GET
def shelf(request: HttpRequest) -> HttpResponse:
    """All products."""
    return render(request, "shelf.html", {"products": PRODUCTS})


@require_GET
def cart_page(request: HttpRequest) -> HttpResponse:
    """The cart."""
    page = {"lines": cart.lines(request), "total": cart.total(request), "most": cart.MOST}
    return render(request, "cart.html", page)


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """One more of a product."""
    product = BY_SLUG[slug_of(request)]
    cart.add(request, product.slug)
    messages.success(request, f"{product.name} is in your cart.")
    return redirect("shelf")


@require_POST
def put(request: HttpRequest) -> HttpResponse:
    """Sets a quantity."""
    try:
        quantity = int(request.POST.get("quantity", ""))
    except ValueError:
        messages.error(request, "A quantity is a whole number.")
        return redirect("cart")
    cart.put(request, slug_of(request), quantity)
    return redirect("cart")


@require_POST
def order(request: HttpRequest) -> HttpResponse:
    """Pretends to sell the cart."""
    if cart.lines(request):
        price = cart.total(request)
        cart.empty(request)
        messages.success(request, f"Thank you. Nothing was charged: {price} of imagination.")
    return redirect("cart")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Ends this session."""
    logout(request)
    return redirect("shelf")


@require_GET
def sessions(request: HttpRequest) -> HttpResponse:
    """This session as the store holds it, and the user's other sessions."""
    page: dict[str, object] = {"facts": facts.about(request)}
    if request.user.is_authenticated:
        page["devices"] = devices.listed(request)
    return render(request, "sessions.html", page)


@require_POST
def slide(request: HttpRequest) -> HttpResponse:
    """Gives this session its full lifetime again."""
    request.session.modified = True
    return redirect("sessions")


@require_POST
@login_required
def end(request: HttpRequest) -> HttpResponse:
    """Ends one other session of the user, all others, or all of them."""
    wanted = request.POST.get("handle", "")
    ended = devices.end(request, wanted)
    if wanted == "all":
        logout(request)  # the store is done with this one; here it's forgotten, with its cookie
        return redirect("shelf")
    noun = "session" if ended == 1 else "sessions"
    messages.success(request, f"{ended} {noun} ended.")
    return redirect("sessions")


def slug_of(request: HttpRequest) -> str:
    """The product that a form is about; 404 if there is none."""
    slug = request.POST.get("slug", "")
    if slug not in BY_SLUG:
        raise Http404("no such product")
    return slug
