"""The cart: a dict of slug to quantity inside the session, and nowhere else.

Adding is an increment in the store, so that two tabs that add at once both count.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest

from shop.catalogue import BY_SLUG, Product, money

KEY = "cart"
MOST = 99


@dataclass(frozen=True)
class Line:
    """A product and how many of it."""

    product: Product
    quantity: int

    @property
    def total(self) -> str:
        """The line's price as people read it."""
        return money(self.product.cents * self.quantity)


def lines(request: HttpRequest) -> list[Line]:
    """What is in the cart, in the order in which it was put there."""
    held = request.session.get(KEY, {})
    known = [(BY_SLUG[slug], min(count, MOST)) for slug, count in held.items() if slug in BY_SLUG]
    return [Line(product, count) for product, count in known if count > 0]


def put(request: HttpRequest, slug: str, quantity: int) -> None:
    """Sets a quantity between 0 and MOST; 0 takes the product out."""
    held = request.session.setdefault(KEY, {})
    if quantity > 0:
        held[slug] = min(quantity, MOST)
    else:
        held.pop(slug, None)


def add(request: HttpRequest, slug: str) -> None:
    """One more of this product."""
    request.session.incr((KEY, slug))


def empty(request: HttpRequest) -> None:
    """Takes everything out."""
    request.session.pop(KEY, None)


def total(request: HttpRequest) -> str:
    """The price of everything in the cart."""
    return money(sum(line.product.cents * line.quantity for line in lines(request)))


def context(request: HttpRequest) -> dict[str, int]:
    """`cart_count` for the page head."""
    return {"cart_count": sum(line.quantity for line in lines(request))}
