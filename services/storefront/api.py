"""The JSON API: the catalogue for anybody, orders for clients with a token (`Authorization: Bearer`).

Cookies are used only to show the cart, so requests cannot be forged.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.storefront.cart_pages import priced
from services.storefront.domain import Address, Card, Category, Order, Place, Problem, Product, ShopError
from services.storefront.forms import body, whole_number
from services.storefront.sessions import Session
from services.storefront.site import Site, path_id
from services.storefront.visit import visit_of

_ADDRESS = ("street", "city", "state", "zip_code", "country")
_CARD = ("number", "expiry", "cvv")
_KEY = re.compile(r"[!-~]{1,100}", re.ASCII)
_MAX_PAGE, _MAX_SIZE, _MAX_ITEMS, _INT32 = 10_000, 100, 100, 2**31 - 1


class Api:
    def __init__(self, site: Site) -> None:
        self._shop, self._tracking = site.shop, site.tracking

    def routes(self) -> list[Route]:
        return [
            Route("/api/products", self.products),
            Route("/api/products/{id:number}", self.product),
            Route("/api/cart", self.cart),
            Route("/api/orders", self.orders, methods=["GET"]),
            Route("/api/orders", self.create, methods=["POST"]),
            Route("/api/orders/{id:number}", self.order),
        ]

    async def products(self, request: Request) -> Response:
        """Serve a page of products: `?category=books&page_size=20&page_token=…`, or by its number,
        `&page=2`.
        """
        slug = request.query_params.get("category", "")
        category = Category.parse(slug)
        if slug and category is None:
            raise ShopError(Problem.INVALID, fields={"category": "there is no such category"})
        place, size = _paging(request)
        found = await self._shop.catalogue.page(place, size, category)
        return _listed("products", [_product(p) for p in found.items], found.next_token, place, size)

    async def product(self, request: Request) -> Response:
        product = await self._shop.catalogue.product(path_id(request))
        self._tracking.viewed(product.id)
        return JSONResponse(_product(product))

    async def cart(self, request: Request) -> Response:
        """Serve the cart of the browser that asks."""
        cart = await priced(self._shop.catalogue, visit_of(request).cart.quantities)
        lines = [
            {"product_id": line.product_id, "quantity": line.quantity, "total_cents": line.total_cents}
            for line in cart.lines
        ]
        return JSONResponse({"lines": lines, "total_cents": cart.total_cents})

    async def orders(self, request: Request) -> Response:
        session = _session(request)
        place, size = _paging(request)
        found = await self._shop.orders.page(session.token, session.user_id, place, size)
        return _listed("orders", [_order(o) for o in found.items], found.next_token, place, size)

    async def order(self, request: Request) -> Response:
        order = await self._shop.orders.order(_session(request).token, path_id(request))
        return JSONResponse(_order(order))

    async def create(self, request: Request) -> Response:
        """Place an order: `{"items": [{"product_id": 1, "quantity": 2}], "shipping_address": {…}}`.

        `"card": {"number", "expiry", "cvv"}` pays; without it the wallet on file pays.
        `"expected_total_cents"` is the total that the buyer was shown: if the order has another total, it is
        refused with PRICE_CHANGED.

        The header `Idempotency-Key` makes it safe to repeat the request.
        """
        session = _session(request)
        sent = await _json(request)
        key = request.headers.get("idempotency-key", "") or secrets.token_urlsafe(16)
        if not _KEY.fullmatch(key):
            raise ShopError(
                Problem.INVALID, fields={"Idempotency-Key": "must be 1 to 100 visible characters"}
            )
        card = _strings(sent, "card", _CARD) if sent.get("card") is not None else None
        order = await self._shop.orders.create(
            session.token,
            session.user_id,
            _items(sent.get("items")),
            Address(**_strings(sent, "shipping_address", _ADDRESS)),
            Card(**card) if card else None,
            key,
            _expected(sent),
        )
        return JSONResponse(_order(order), 201, headers={"location": f"/api/orders/{order.id}"})


def _session(request: Request) -> Session:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    session = Session.read(token.strip()) if scheme.lower() == "bearer" else None
    if session is None:
        raise ShopError(Problem.LOGIN, "send Authorization: Bearer TOKEN")
    return session


def _listed(name: str, items: Sequence[Any], following: str, place: Place, size: int) -> JSONResponse:
    numbered = {} if place.token else {"page": place.page}
    return JSONResponse({name: items, **numbered, "page_size": size, "next_page_token": following})


def _paging(request: Request) -> tuple[Place, int]:
    """Return the page and its size. 0 or nothing means the first page, or the default size.

    Raises:
        ShopError: one of them is no whole number, the page is beyond every listing, or it is given together
            with a token.
    """
    params = request.query_params
    page = whole_number(params.get("page", "0"), 0, _MAX_PAGE)
    size = whole_number(params.get("page_size", "0"), 0, _INT32)
    token = params.get("page_token", "")
    if token and page:
        raise ShopError(Problem.INVALID, fields={"page": "must not be given together with page_token"})
    if page is None or size is None:
        wrong = {"page": f"must be a whole number from 0 to {_MAX_PAGE}"} if page is None else {}
        wrong |= {"page_size": "must be a whole number"} if size is None else {}
        raise ShopError(Problem.INVALID, fields=wrong)
    return Place(page or 1, token), min(size or 20, _MAX_SIZE)


async def _json(request: Request) -> Mapping[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ShopError(Problem.INVALID, "send application/json")
    try:
        sent = json.loads((await body(request)).decode())
        json.dumps(sent, ensure_ascii=False).encode()  # an escaped lone surrogate is JSON, but no text
    except (ValueError, RecursionError) as e:
        raise ShopError(Problem.INVALID, "that is not JSON in UTF-8") from e
    if not isinstance(sent, dict):
        raise ShopError(Problem.INVALID, "send a JSON object")
    return sent


def _items(sent: Any) -> list[tuple[int, int]]:
    """Return product ids and quantities. The order service checks their values."""
    if not isinstance(sent, list) or len(sent) > _MAX_ITEMS:
        raise ShopError(Problem.INVALID, fields={"items": f"must be a list of at most {_MAX_ITEMS}"})
    wrong = {
        f"items[{i}]": "needs an integer product_id and quantity"
        for i, x in enumerate(sent)
        if not _is_item(x)
    }
    if wrong:
        raise ShopError(Problem.INVALID, fields=wrong)
    return [(x["product_id"], x["quantity"]) for x in sent]


def _expected(sent: Mapping[str, Any]) -> int | None:
    expected = sent.get("expected_total_cents")
    if expected is not None and (type(expected) is not int or not 0 <= expected <= _INT32):
        raise ShopError(Problem.INVALID, fields={"expected_total_cents": "must be a whole number of cents"})
    return expected


def _is_item(x: Any) -> bool:
    return isinstance(x, dict) and all(
        type(x.get(name)) is int and abs(x[name]) <= _INT32 for name in ("product_id", "quantity")
    )


def _strings(sent: Mapping[str, Any], part: str, names: tuple[str, ...]) -> dict[str, str]:
    inner = sent.get(part, {})
    if not isinstance(inner, dict):
        raise ShopError(Problem.INVALID, fields={part: "must be an object"})
    wrong = {
        f"{part}.{name}": "must be a string" for name in names if not isinstance(inner.get(name, ""), str)
    }
    if wrong:
        raise ShopError(Problem.INVALID, fields=wrong)
    return {name: inner.get(name, "") for name in names}


def _product(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "price_cents": product.price_cents,
        "stock": product.stock,
        "category": product.category.value if product.category else None,
        "tags": list(product.tags),
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "status": order.status.value,
        "total_cents": order.total_cents,
        "refunded_cents": order.refunded_cents,
        "lines": [
            {
                "product_id": line.product_id,
                "name": line.name,
                "quantity": line.quantity,
                "unit_cents": line.unit_cents,
                "total_cents": line.total_cents,
            }
            for line in order.lines
        ],
        "shipping_address": {name: getattr(order.address, name) for name in _ADDRESS},
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
    }
