"""A user's orders: the list, an order's page, its changes of status, and its live updates."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront import art
from services.storefront.cart_pages import priced
from services.storefront.domain import (
    ADMIN_ACTIONS,
    BUYER_ACTIONS,
    STEPS,
    Notice,
    Order,
    Problem,
    ShopError,
    Status,
)
from services.storefront.forms import Form, form_route
from services.storefront.live import LiveOrders
from services.storefront.sessions import Session
from services.storefront.site import Site, page_place, path_id, see
from services.storefront.visit import visit_of

PAGE_SIZE = 10
#: The user id by which an admin lists all orders.
EVERYONE = 0
#: Latest notifications on the list of orders: the most of them, and the timeout to fetch them, in seconds.
MAX_NOTICES, NOTICES_TIMEOUT = 5, 1.0
#: The most lines of an order with a picture, and the timeout to fetch their products, in seconds.
MAX_PICTURES, PICTURE_TIMEOUT = 12, 1.0


class OrderPages:
    def __init__(self, site: Site, live: LiveOrders) -> None:
        self._site, self._live = site, live

    def routes(self) -> list[Route]:
        return [
            Route("/orders", self.orders),
            Route("/orders/{id:number}", self.order),
            Route("/orders/{id:number}/events", self._live.events),
            form_route("/orders/{id:number}/status", self.set_status),
        ]

    async def orders(self, request: Request) -> Response:
        visit = visit_of(request)
        place = page_place(request)
        everyone = bool(visit.session and visit.session.is_admin and request.query_params.get("everyone"))
        whose = EVERYONE if everyone else visit.user_id
        found = await self._site.shop.orders.page(visit.token, whose, place, PAGE_SIZE)
        return self._site.page(
            request,
            "orders.html",
            found=found,
            place=place,
            everyone=everyone,
            notices=[] if everyone or place.page > 1 else await self._notices(visit.token, visit.user_id),
        )

    async def _notices(self, token: str, user_id: int) -> Sequence[Notice]:
        """Return the user's latest notifications, or none if the notification service does not answer."""
        with suppress(ShopError, TimeoutError):
            async with asyncio.timeout(NOTICES_TIMEOUT):
                return await self._site.shop.notices.latest(token, user_id, MAX_NOTICES)
        return []

    async def order(self, request: Request) -> Response:
        visit = visit_of(request)
        order = await self._site.shop.orders.order(visit.token, path_id(request))
        return await self._page(request, order)

    async def set_status(self, request: Request, form: Form) -> Response:
        """Change the status of an order: an admin ships, a buyer cancels.

        The order service decides whether they may.
        """
        visit = visit_of(request)
        order_id = path_id(request)
        wanted = next((s for s in Status if s.value == form.get("status")), None)
        if wanted is None:
            raise ShopError(Problem.INVALID, "there is no such status")
        try:
            await self._site.shop.orders.set_status(visit.token, order_id, wanted)
        except ShopError as e:
            if e.problem is not Problem.RULE:
                raise
            order = await self._site.shop.orders.order(visit.token, order_id)
            return await self._page(request, order, e.message, 409)
        visit.notify("changed")
        return see(f"/orders/{order_id}")

    async def _page(self, request: Request, order: Order, problem: str = "", status: int = 200) -> Response:
        visit = visit_of(request)
        return self._site.page(
            request,
            "order.html",
            status,
            order=order,
            problem=problem,
            steps=STEPS,
            reached=STEPS.index(order.status) if order.status in STEPS else -1,
            actions=actions(visit.session),
            pictures=await self._pictures(order),
            trace=visit.trace_of(order.id),
        )

    async def _pictures(self, order: Order) -> Mapping[int, str]:
        """Return the URL of a picture for each product of the order.

        Without the catalogue's answer, the pictures show a parcel.
        """
        wanted = [line.product_id for line in order.lines[:MAX_PICTURES]]
        found: Mapping[int, str] = {}
        with suppress(ShopError, TimeoutError):
            async with asyncio.timeout(PICTURE_TIMEOUT):
                catalogue = self._site.shop.catalogue
                cart = await priced(catalogue, [(product_id, 1) for product_id in wanted])
                found = {line.product_id: art.url_of(line.product) for line in cart.lines if line.product}
        return {line.product_id: found.get(line.product_id, art.PARCEL) for line in order.lines}


def actions(session: Session | None) -> Mapping[Status, tuple[Status, ...]]:
    """Return the buttons to draw at each status: the changes that an admin or the buyer may make."""
    if session is None:
        return {}
    return ADMIN_ACTIONS if session.is_admin else BUYER_ACTIONS
