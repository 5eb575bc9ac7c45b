"""The pages to browse: the catalogue, the search, a product."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront import art
from services.storefront.domain import Category, Place
from services.storefront.forms import cents
from services.storefront.site import Site, page_place, path_id

#: Products on a page; divisible by two, three and four columns.
PAGE_SIZE = 12
#: The most products that a search shows.
SEARCH_LIMIT = 60
_MAX_QUERY = 100


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
        """Serve a page of the catalogue."""
        category = Category.parse(request.query_params.get("category", ""))
        place = page_place(request)
        found = await self._site.shop.catalogue.page(place, PAGE_SIZE, category)
        return self._site.page(request, "catalogue.html", found=found, category=category, place=place)

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
        """Serve a product's page, with some other products of its category."""
        product = await self._site.shop.catalogue.product(path_id(request))
        self._site.tracking.viewed(product.id)
        shelf = await self._site.shop.catalogue.page(Place(), 5, product.category)
        related = [p for p in shelf.items if p.id != product.id][:4]
        return self._site.page(request, "product.html", product=product, related=related)


async def drawing(request: Request) -> Response:
    """Serve a product's picture. It never changes under its URL."""
    params = request.path_params
    svg = art.draw(params["category"], params["motif"], params["seed"] % 997)
    if svg is None:
        return Response("no such picture", 404, media_type="text/plain")
    return Response(svg, media_type="image/svg+xml", headers={"cache-control": "public, max-age=86400"})
