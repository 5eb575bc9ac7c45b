"""Looking around: the catalogue, the search, a product."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront import art
from services.storefront.domain import Category
from services.storefront.forms import cents, integer
from services.storefront.site import Site, path_id

#: Products on a page; divides by two, three and four columns.
PAGE_SIZE = 12
#: Products that a search shows at most.
SEARCH_LIMIT = 60
_MAX_PAGE, _MAX_QUERY = 10_000, 100


class BrowsePages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        return [
            Route("/", self.catalogue),
            Route("/search", self.search),
            Route("/products/{id:number}", self.product),
            Route("/art/{category}/{motif}/{seed:number}.svg", drawing),
        ]

    async def catalogue(self, request: Request) -> Response:
        """A page of the catalogue. Whether a next one is there is asked beside it."""
        category = Category.parse(request.query_params.get("category", ""))
        page = integer(request.query_params.get("page", ""), 1, 1, _MAX_PAGE)
        catalogue = self._site.shop.catalogue
        products, following = await asyncio.gather(
            catalogue.page(page, PAGE_SIZE, category), catalogue.page(page * PAGE_SIZE + 1, 1, category)
        )
        return self._site.page(
            request, "catalogue.html", products=products, category=category, page=page, more=bool(following)
        )

    async def search(self, request: Request) -> Response:
        params = request.query_params
        query = params.get("q", "").strip()[:_MAX_QUERY]
        category = Category.parse(params.get("category", ""))
        low, high = cents(params.get("min", "")), cents(params.get("max", ""))
        swapped = (high, low) if high and low > high else (low, high)
        products = await self._site.shop.catalogue.search(query, category, *swapped, SEARCH_LIMIT)
        self._site.tracking.searched()
        return self._site.page(
            request,
            "search.html",
            products=products,
            query=query,
            category=category,
            low=params.get("min", "") if low else "",
            high=params.get("max", "") if high else "",
            limit=SEARCH_LIMIT,
        )

    async def product(self, request: Request) -> Response:
        """A product, and some of the same shelf."""
        product = await self._site.shop.catalogue.product(path_id(request))
        self._site.tracking.viewed(product.id)
        shelf = await self._site.shop.catalogue.page(1, 5, product.category)
        related = [p for p in shelf if p.id != product.id][:4]
        return self._site.page(request, "product.html", product=product, related=related)


async def drawing(request: Request) -> Response:
    """A product's picture. It never changes under its address."""
    params = request.path_params
    svg = art.draw(params["category"], params["motif"], params["seed"] % 997)
    if svg is None:
        return Response("no such picture", 404, media_type="text/plain")
    return Response(svg, media_type="image/svg+xml", headers={"cache-control": "public, max-age=86400"})
