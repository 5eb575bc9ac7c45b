"""The cart's page and what can be done with it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront.cart import MAX_QUANTITY
from services.storefront.domain import Catalogue, Problem, Product, ShopError
from services.storefront.forms import Form, form_route, integer, local_path
from services.storefront.site import Site, see
from services.storefront.visit import visit_of

_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CartLine:
    """A line of the cart as it is shown; `product` is None where the catalogue has it no more."""

    product_id: int
    quantity: int
    product: Product | None

    @property
    def total_cents(self) -> int:
        return self.product.price_cents * self.quantity if self.product else 0

    @property
    def short(self) -> bool:
        """Whether more is asked for than there is."""
        return self.product is None or self.quantity > self.product.stock


@dataclass(frozen=True, slots=True)
class PricedCart:
    lines: tuple[CartLine, ...]

    @property
    def total_cents(self) -> int:
        """What it costs today; the order service has the last word."""
        return sum(line.total_cents for line in self.lines)

    @property
    def short(self) -> bool:
        return any(line.short for line in self.lines)


async def priced(catalogue: Catalogue, quantities: Sequence[tuple[int, int]]) -> PricedCart:
    """Product ids and quantities at the catalogue's present prices, asked for side by side."""
    products = await asyncio.gather(*(_product(catalogue, product_id) for product_id, _ in quantities))
    pairs = zip(quantities, products, strict=True)
    return PricedCart(tuple(CartLine(product_id, quantity, p) for (product_id, quantity), p in pairs))


async def _product(catalogue: Catalogue, product_id: int) -> Product | None:
    try:
        return await catalogue.product(product_id)
    except ShopError as e:
        if e.problem is Problem.NOT_FOUND:
            return None
        raise


class CartPages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        return [
            Route("/cart", self.cart),
            form_route("/cart/add", self.add),
            form_route("/cart/set", self.set),
        ]

    async def cart(self, request: Request) -> Response:
        cart = await priced(self._site.shop.catalogue, visit_of(request).cart.quantities)
        return self._site.page(request, "cart.html", cart=cart)

    async def add(self, request: Request, form: Form) -> Response:
        visit = visit_of(request)
        product_id = integer(form.get("product_id", ""), 0, 0, _MAX_ID)
        added = visit.cart.added(product_id, integer(form.get("quantity", ""), 1, 1, MAX_QUANTITY))
        if product_id == 0 or not added.quantity(product_id):
            visit.notify("cart-full")
        else:
            visit.keep_cart(added)
            visit.notify("added")
        return see(local_path(form.get("next", "/cart")))

    async def set(self, request: Request, form: Form) -> Response:
        """Sets a quantity; the form's `remove` button sets none."""
        visit = visit_of(request)
        product_id = integer(form.get("product_id", ""), 0, 0, _MAX_ID)
        quantity = 0 if "remove" in form else integer(form.get("quantity", ""), 1, 0, MAX_QUANTITY)
        if visit.cart.quantity(product_id):
            visit.keep_cart(visit.cart.with_quantity(product_id, quantity))
            visit.notify("updated" if quantity else "removed")
        return see("/cart")
