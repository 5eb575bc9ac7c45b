"""Checkout: an address, a means of payment, and an order that is placed once however often the form
is sent.
"""

import hashlib
import re
import secrets

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront.cart import Cart
from services.storefront.cart_pages import priced
from services.storefront.domain import Address, Card, Problem, ShopError
from services.storefront.errors import FACES
from services.storefront.forms import Form, field_errors, form_route, whole_number
from services.storefront.site import Site, money, see
from services.storefront.visit import visit_of

#: The form's input for the last part of a field path in CreateOrderRequest.
_INPUTS = {
    "street": "street",
    "city": "city",
    "state": "state",
    "zip_code": "zip_code",
    "country": "country",
    "number": "card_number",
    "expiry": "card_expiry",
    "cvv": "card_cvv",
}
_ADDRESS = ("street", "city", "state", "zip_code", "country")
_KEY = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
#: Problems after which the order may exist: the next attempt must use the same key.
_UNDECIDED = frozenset({Problem.UNAVAILABLE, Problem.TIMEOUT, Problem.BUSY, Problem.BROKEN})
#: Reasons of the order service: the form was sent before and changed since; the form showed another total.
_KEY_REUSED, _PRICE_CHANGED = "KEY_REUSED", "PRICE_CHANGED"
#: The highest total in a form, in cents. The order service's own limit is lower.
_MAX_TOTAL = 2**31 - 1
_WRONG_TOTAL = (
    "We could not read what this page told you to pay. Look at the total, and place the order again."
)
#: The facts of PRICE_CHANGED: the actual total, and the one that was shown.
_TOTALS = ("total_cents", "expected_total_cents")
_UNDECIDED_TEXT = (
    "We could not make sure that your order went through. Press the button again: "
    "it will not be placed or charged twice."
)


class CheckoutPages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        return [Route("/checkout", self.checkout), form_route("/checkout", self.place)]

    async def checkout(self, request: Request) -> Response:
        visit = visit_of(request)
        if visit.session is None:
            return self._site.login_required(request)
        if not visit.cart.count:
            return see("/cart")
        return await self._form(request, {}, {}, new_key())

    async def place(self, request: Request, form: Form) -> Response:
        visit = visit_of(request)
        if not visit.cart.count:
            return see("/cart")
        key = form.get("key", "")
        key = key if _KEY.fullmatch(key) else new_key()
        card = _card(form) if form.get("pay") == "card" else None
        shown = whole_number(form["total"], 0, _MAX_TOTAL) if "total" in form else None
        if shown is None and "total" in form:
            return await self._form(request, form, {"form": _WRONG_TOTAL}, new_key(), 422)
        try:
            order = await self._site.shop.orders.create(
                visit.token,
                visit.user_id,
                visit.cart.quantities,
                Address(**{name: form.get(name, "") for name in _ADDRESS}),
                card,
                order_key(visit.user_id, key, visit.cart),
                shown,
            )
        except ShopError as e:
            return await self._failed(request, form, key, e)
        visit.keep_cart(Cart())
        visit.keep_trace(order.id, visit.trail.trace_id)
        visit.notify("placed")
        return see(f"/orders/{order.id}")

    async def _failed(self, request: Request, form: Form, key: str, error: ShopError) -> Response:
        """Serve the form again, with the errors and everything that was typed except the card."""
        if error.problem in (Problem.LOGIN, Problem.FORBIDDEN):
            raise error
        if error.reason == _KEY_REUSED:
            # Never a new key: the order may exist as it was first sent, and would then be placed twice.
            visit_of(request).notify("sent-before")
            return see("/orders")
        if error.problem in _UNDECIDED:
            # Keep the total that was sent with the key: the order may have been placed with it.
            status = FACES[error.problem].status
            return await self._form(request, form, {"form": _UNDECIDED_TEXT}, key, status, form.get("total"))
        if error.reason == _PRICE_CHANGED:
            return await self._form(request, form, {"form": _changed(error)}, new_key(), 409)
        return await self._form(request, form, field_errors(error, _INPUTS), new_key(), 422)

    async def _form(
        self,
        request: Request,
        form: Form,
        errors: dict[str, str],
        key: str,
        status: int = 200,
        total: str | None = None,
    ) -> Response:
        """Serve the form with the catalogue's current prices.

        If given, `total` (cents) is the total that it will send.
        """
        cart = await priced(self._site.shop.catalogue, visit_of(request).cart.quantities)
        typed = {name: form.get(name, "") for name in _ADDRESS} | {"pay": form.get("pay", "card")}
        typed["total"] = str(cart.total_cents) if total is None else total
        return self._site.page(
            request, "checkout.html", status, cart=cart, form=typed, errors=errors, key=key
        )


def _changed(error: ShopError) -> str:
    new, old = (whole_number(error.facts.get(n, ""), 0, _MAX_TOTAL) for n in _TOTALS)
    told = f"{money(new)} instead of {money(old)}" if new is not None and old is not None else "another one"
    return f"Prices have changed: the total is now {told}. Nothing was charged. To agree, order again."


def new_key() -> str:
    """Return a new key for a form: 128 random bits."""
    return secrets.token_urlsafe(16)


def order_key(user_id: int, key: str, cart: Cart) -> str:
    """Return the idempotency key of an order: the same form sent twice with the same cart is one order.

    The cart is part of the key, so that an old form in the browser's history buys what is in the cart now.
    """
    return hashlib.sha256(f"{user_id}/{key}/{cart}".encode()).hexdigest()


def _card(form: Form) -> Card:
    return Card(form.get("card_number", ""), form.get("card_expiry", ""), form.get("card_cvv", ""))
