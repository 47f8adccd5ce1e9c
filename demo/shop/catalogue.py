"""What the shop sells. Prices are in cents; `art` names a drawing in art.html."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """One thing on the shelf."""

    slug: str
    name: str
    line: str
    cents: int
    art: str

    @property
    def price(self) -> str:
        """The price as people read it."""
        return money(self.cents)


def money(cents: int) -> str:
    """Cents as euros."""
    return f"€ {cents / 100:,.2f}"


PRODUCTS = [
    Product("oak", "Sessile oak", "Two leaves, four hundred years to go", 2400, "oak"),
    Product("moss", "Moss ball", "Asks for a spray of water on Sundays", 900, "moss"),
    Product("fern", "Wall fern", "Unrolls one frond at a time", 1450, "fern"),
    Product("anemone", "Paper anemone", "Holds on to a shelf, not to a reef", 1800, "anemone"),
    Product("coral", "Coral branch", "Cast from lime, grown in no sea", 3200, "coral"),
    Product(
        "barnacle", "Barnacle hook", "Once it sits it sits: coats up to 8 kg", 1100, "barnacle"
    ),
    Product("sponge", "Vase sponge", "Ceramic, drinks half a litre", 2750, "sponge"),
    Product("lichen", "Lichen stone", "Grew a millimetre last year", 1250, "lichen"),
]
BY_SLUG = {product.slug: product for product in PRODUCTS}
