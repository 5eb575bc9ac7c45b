"""The cart's page and its forms."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront.cart import MAX_QUANTITY
from services.storefront.domain import Catalogue, Problem, Product, ShopError
from services.storefront.forms import Form, form_route, local_path, whole_number
from services.storefront.site import Site, see
from services.storefront.visit import visit_of

_MAX_ID = 2**31 - 1
_WRONG_QUANTITY = f"a quantity is a whole number from 1 to {MAX_QUANTITY}."


@dataclass(frozen=True, slots=True)
class CartLine:
    """A line of the cart as it is shown. `product` is None if the catalogue has it no more."""

    product_id: int
    quantity: int
    product: Product | None

    @property
    def total_cents(self) -> int:
        return self.product.price_cents * self.quantity if self.product else 0

    @property
    def short(self) -> bool:
        """Return whether the quantity exceeds the stock."""
        return self.product is None or self.quantity > self.product.stock


@dataclass(frozen=True, slots=True)
class PricedCart:
    lines: tuple[CartLine, ...]

    @property
    def total_cents(self) -> int:
        """Return the total at current prices, in cents. The order service decides the final one."""
        return sum(line.total_cents for line in self.lines)

    @property
    def short(self) -> bool:
        return any(line.short for line in self.lines)


async def priced(catalogue: Catalogue, quantities: Sequence[tuple[int, int]]) -> PricedCart:
    """Return a cart with the catalogue's current prices, fetched in one call."""
    products = await catalogue.by_ids([product_id for product_id, _ in quantities]) if quantities else {}
    return PricedCart(tuple(CartLine(p, quantity, products.get(p)) for p, quantity in quantities))


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
        return await self._page(request)

    async def _page(self, request: Request, problem: str = "", status: int = 200) -> Response:
        cart = await priced(self._site.shop.catalogue, visit_of(request).cart.quantities)
        return self._site.page(request, "cart.html", status, cart=cart, problem=problem)

    async def add(self, request: Request, form: Form) -> Response:
        """Add a quantity of a product to the cart; 1 if the form has no such field."""
        visit = visit_of(request)
        product_id = _product_id(form)
        quantity = whole_number(form.get("quantity", "1"), 1, MAX_QUANTITY)
        if quantity is None:
            return await self._page(request, f"Nothing was added: {_WRONG_QUANTITY}", 422)
        in_cart = visit.cart.quantity(product_id)
        if in_cart + quantity > MAX_QUANTITY:
            problem = f"Nothing was added: {in_cart} are in your cart, and {MAX_QUANTITY} are the most."
            return await self._page(request, problem, 422)
        added = visit.cart.added(product_id, quantity)
        if not added.quantity(product_id):
            visit.notify("cart-full")
        else:
            visit.keep_cart(added)
            visit.notify("added")
        return see(local_path(form.get("next", "/cart")))

    async def set(self, request: Request, form: Form) -> Response:
        """Set a quantity. 0 removes the product, and so does the form's `remove` button."""
        visit = visit_of(request)
        product_id = _product_id(form)
        quantity = 0 if "remove" in form else whole_number(form.get("quantity", ""), 0, MAX_QUANTITY)
        if quantity is None:
            return await self._page(request, f"Nothing was changed: {_WRONG_QUANTITY}", 422)
        if visit.cart.quantity(product_id):
            visit.keep_cart(visit.cart.with_quantity(product_id, quantity))
            visit.notify("updated" if quantity else "removed")
        return see("/cart")


def _product_id(form: Form) -> int:
    """Return the product id in a form. Raises ShopError if no product can have it."""
    product_id = whole_number(form.get("product_id", ""), 1, _MAX_ID)
    if product_id is None:
        raise ShopError(Problem.NOT_FOUND, "there is no such product")
    return product_id
