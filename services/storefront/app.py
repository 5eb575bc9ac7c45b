"""The web application: its routes and middleware."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from services.storefront.account import AccountPages
from services.storefront.api import Api
from services.storefront.browse import BrowsePages
from services.storefront.cart_pages import CartPages
from services.storefront.checkout import CheckoutPages
from services.storefront.domain import ShopError
from services.storefront.edge import Edge, Log
from services.storefront.errors import ErrorPages
from services.storefront.live import LiveOrders
from services.storefront.orders import OrderPages
from services.storefront.own_account import OwnAccountPages
from services.storefront.sessions import Renewals
from services.storefront.site import Site
from services.storefront.visit import VisitMiddleware


def build_app(
    site: Site,
    log: Log,
    closing: asyncio.Event,
    outermost: tuple[Middleware, ...] = (),
    draining: Callable[[], bool] | None = None,
) -> Starlette:
    """Build the application.

    Args:
        site: The shop.
        log: Writes one line per request.
        closing: Set when the process drains: streams then end.
        outermost: Middleware around everything else: tracing, metrics.
        draining: Returns whether connections should be closed after the response; by default whether
            `closing` is set.
    """
    errors = ErrorPages(site)
    routes = [
        *BrowsePages(site).routes(),
        *CartPages(site).routes(),
        *AccountPages(site).routes(),
        *OwnAccountPages(site).routes(),
        *CheckoutPages(site).routes(),
        *OrderPages(site, LiveOrders(site, closing)).routes(),
        *Api(site).routes(),
        Route("/static/{name}", _Static(site).file),
        Route("/healthz", healthz),
    ]
    middleware = [
        *outermost,
        Middleware(Edge, log=log, closing=draining or closing.is_set, https=site.settings.secure_cookies),
        Middleware(
            VisitMiddleware,
            renewals=Renewals(site.shop.accounts),
            secure=site.settings.secure_cookies,
            proxies=site.settings.proxies,
        ),
    ]
    handlers = {ShopError: errors.shop_error, HTTPException: errors.http_error}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


def always_traced(scope: Scope) -> bool:
    """Return whether a request is traced whatever the sampling ratio: one that places an order.

    There are few of them, they cross every service, and each is one that somebody may ask about.
    """
    return scope["method"] == "POST" and scope["path"] in ("/checkout", "/api/orders")


async def healthz(request: Request) -> Response:
    """Report that the process is alive. Its pages show whether the services behind it are."""
    return PlainTextResponse("ok\n")


class _Static:
    def __init__(self, site: Site) -> None:
        self._assets = site.assets

    async def file(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return PlainTextResponse("no such file\n", 404)
        # Cached for ever under the URL with its digest; otherwise revalidated.
        current = request.query_params.get("v") == asset.digest
        caching = "public, max-age=31536000, immutable" if current else "no-cache"
        return Response(asset.body, media_type=asset.media_type, headers={"cache-control": caching})
