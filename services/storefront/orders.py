"""A user's orders: the list, one of them, what may be done with it, and its live updates."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront.domain import ADMIN_ACTIONS, BUYER_ACTIONS, STEPS, Order, Problem, ShopError, Status
from services.storefront.forms import Form, form_route, integer
from services.storefront.live import LiveOrders
from services.storefront.sessions import Session
from services.storefront.site import Site, path_id, see
from services.storefront.visit import visit_of

PAGE_SIZE = 10
_MAX_PAGE = 10_000


class OrderPages:
    def __init__(self, site: Site, live: LiveOrders) -> None:
        self._site, self._live = site, live

    def routes(self) -> list[Route]:
        return [
            Route("/orders", self.orders),
            Route("/orders/{id:int}", self.order),
            Route("/orders/{id:int}/events", self._live.events),
            form_route("/orders/{id:int}/status", self.set_status),
        ]

    async def orders(self, request: Request) -> Response:
        visit = visit_of(request)
        page = integer(request.query_params.get("page", ""), 1, 1, _MAX_PAGE)
        found = await self._site.shop.orders.page(visit.token, visit.user_id, page, PAGE_SIZE)
        return self._site.page(
            request, "orders.html", orders=found, page=page, more=len(found) == PAGE_SIZE
        )

    async def order(self, request: Request) -> Response:
        visit = visit_of(request)
        order = await self._site.shop.orders.order(visit.token, path_id(request))
        return self._page(request, order)

    async def set_status(self, request: Request, form: Form) -> Response:
        """An admin ships, a buyer cancels. Whether they may, the order service says."""
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
            return self._page(request, order, e.message, 409)
        visit.notify("changed")
        return see(f"/orders/{order_id}")

    def _page(self, request: Request, order: Order, problem: str = "", status: int = 200) -> Response:
        visit = visit_of(request)
        return self._site.page(
            request,
            "order.html",
            status,
            order=order,
            problem=problem,
            steps=STEPS,
            reached=STEPS.index(order.status) if order.status in STEPS else -1,
            actions=actions(order, visit.session),
            trace=visit.trace_of(order.id),
        )


def actions(order: Order, session: Session | None) -> tuple[Status, ...]:
    """The buttons to draw: what an admin, or the buyer, may make of an order."""
    if session is None:
        return ()
    allowed = ADMIN_ACTIONS if session.is_admin else BUYER_ACTIONS
    return allowed.get(order.status, ())
