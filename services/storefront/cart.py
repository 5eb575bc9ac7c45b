"""The cart: product ids and quantities, kept in a cookie, so that any replica can serve any visitor."""

import re
from dataclasses import dataclass

#: The most products in a cart: it must fit into a cookie and on one page.
MAX_LINES = 20
#: The largest quantity of one product.
MAX_QUANTITY = 99

_ITEM = re.compile(r"([1-9][0-9]{0,9})x([1-9][0-9]?)", re.ASCII)
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cart:
    """An immutable cart; the methods return the changed one."""

    quantities: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, cookie: str) -> "Cart":
        """Parse a cookie such as `12x1.7x3`.

        Malformed parts are ignored, since a visitor can write the cookie.
        """
        cart = cls()
        for part in cookie.split(".")[:MAX_LINES]:
            if (match := _ITEM.fullmatch(part)) and int(match[1]) <= _MAX_ID:
                cart = cart.with_quantity(int(match[1]), int(match[2]))
        return cart

    def __str__(self) -> str:
        return ".".join(f"{product}x{quantity}" for product, quantity in self.quantities)

    @property
    def count(self) -> int:
        """Return the number of units in the cart."""
        return sum(quantity for _, quantity in self.quantities)

    def quantity(self, product_id: int) -> int:
        return dict(self.quantities).get(product_id, 0)

    def with_quantity(self, product_id: int, quantity: int) -> "Cart":
        """Return the cart with a product's quantity set. 0 or less removes it; a full cart accepts no further
        product.
        """
        lines = dict(self.quantities)
        if quantity <= 0:
            lines.pop(product_id, None)
        elif product_id in lines or len(lines) < MAX_LINES:
            lines[product_id] = min(quantity, MAX_QUANTITY)
        return Cart(tuple(lines.items()))

    def added(self, product_id: int, quantity: int) -> "Cart":
        """Return the cart with `quantity` more units of a product."""
        return self.with_quantity(product_id, self.quantity(product_id) + quantity)
