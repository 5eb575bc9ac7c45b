"""Visitors of the storefront's pages, for bench/skew.py: each logs in, fills a cart, orders, and follows the
order on its page until it is confirmed.
"""

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from services.loadgen.shop import BUYERS

#: Seconds for one request, and seconds until an order that was placed has to be confirmed.
TIMEOUT, SETTLE = 30.0, 30.0
ADDRESS = {
    "street": "1 Mesh Lane",
    "zip_code": "12700",
    "city": "Loopback",
    "state": "",
    "country": "NL",
    "pay": "wallet",
}
#: A notice of a page, and what it says of a product that is sold out; the same in both releases.
_NOTICE = re.compile(r'<p class="notice bad[^>]*>(.*?)</p>', re.DOTALL)
_SOLD_OUT = re.compile(r"\d+ requested, \d+ available")
_FIELD = r'name="{}" value="([^"]*)"'


class JourneyError(Exception):
    """A page that a visitor did not get, or that said something else than it should."""


@dataclass
class Visits:
    """The visits of a run."""

    done: int = 0
    #: Requests by method, path without numbers, and status.
    pages: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    #: Orders refused because a product was sold out, which is no failure.
    sold_out: int = 0


class _AnyReplica(httpx.AsyncBaseTransport):
    """Sends each request to a ready storefront on a connection of its own, like a Service."""

    def __init__(self, addresses: Callable[[], Sequence[str]], rng: random.Random) -> None:
        self._addresses, self._rng = addresses, rng
        # Without `verify`, the CA bundle of the system is not parsed for each visitor, which blocks the loop.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(5):
            with contextlib.suppress(httpx.ConnectError, IndexError):
                base = httpx.URL(self._rng.choice(self._addresses()))
                url = request.url.copy_with(host=base.host, port=base.port)
                sent = httpx.Request(
                    request.method,
                    url,
                    headers=request.headers,
                    stream=request.stream,
                    extensions=request.extensions,
                )
                return await self._inner.handle_async_request(sent)
            await asyncio.sleep(0.2)  # refused: the replica was just taken away, and nothing was sent
        raise JourneyError(f"{request.method} {request.url.path}: no storefront takes connections")

    async def aclose(self) -> None:
        await self._inner.aclose()


class Visitor:
    """One visitor with a browser's cookies, whose requests spread over the storefront's replicas.

    Args:
        addresses: Returns the ready storefronts.
        visits: Receives what happens.
        rng: Chooses storefronts, products and the user.
    """

    def __init__(self, addresses: Callable[[], Sequence[str]], visits: Visits, rng: random.Random) -> None:
        self._visits, self._rng = visits, rng
        transport = _AnyReplica(addresses, rng)
        self._http = httpx.AsyncClient(base_url="http://shop.test", timeout=TIMEOUT, transport=transport)

    async def visit(self) -> None:
        """Make one visit, and record how it ended."""
        began = time.strftime("%H:%M:%S")
        try:
            async with self._http:
                await self._shop()
        except (JourneyError, httpx.HTTPError) as e:
            self._visits.failed.append(f"{began} {type(e).__name__}: {e}")
            print(f"FAILED visit: {self._visits.failed[-1]}", flush=True)
        self._visits.done += 1

    async def _shop(self) -> None:
        await self._get("/")
        name = self._rng.choice(BUYERS)
        csrf = _hidden(await self._get("/login"), "csrf")
        await self._post("/login", {"csrf": csrf, "login": name, "password": f"{name}-password"})
        for product in self._rng.sample(range(1, 21), 2):
            page = await self._get(f"/products/{product}")
            await self._post("/cart/add", {"csrf": _hidden(page, "csrf"), "product_id": str(product)})
        page = await self._get("/checkout")
        form = {name: _hidden(page, name) for name in ("csrf", "key", "total") if f'name="{name}"' in page}
        placed = await self._post("/checkout", form | ADDRESS)
        if placed.status_code == 422:
            self._visits.sold_out += 1
            return
        await self._follow(placed.headers["location"])
        await self._get("/orders")

    async def _follow(self, path: str) -> None:
        """Follow an order as the page's EventSource does, which reconnects when a stream ends."""
        await self._get(path)
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            if await self._confirmed(f"{path}/events?after=1"):  # what came after the order itself
                return
        raise JourneyError(f"{path} was not confirmed within {SETTLE:.0f} s")

    async def _confirmed(self, path: str) -> bool:
        """Read one event stream. Return whether it says that the order is confirmed."""
        async with self._http.stream("GET", path) as response:
            self._count("GET", path, response.status_code)
            async for line in response.aiter_lines():
                if '"CONFIRMED"' in line or '"confirmed"' in line:
                    return True
                if line == "event: gone":
                    raise JourneyError(f"{path}: the stream says that the order is gone")
        await asyncio.sleep(1)
        return False

    async def _get(self, path: str) -> str:
        response = await self._request("GET", path)
        if response.status_code != 200:
            raise JourneyError(f"GET {path}: {response.status_code}")
        return response.text

    async def _post(self, path: str, form: dict[str, str]) -> httpx.Response:
        response = await self._request("POST", path, form)
        if response.status_code != 303 and not (path == "/checkout" and _sold_out(response)):
            raise JourneyError(f"POST {path}: {response.status_code} {_notice(response.text)}")
        return response

    async def _request(self, method: str, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        response = await self._http.request(method, path, data=form)
        self._count(method, path, response.status_code)
        return response

    def _count(self, method: str, path: str, status: int) -> None:
        self._visits.pages[f"{method} {re.sub(r'[0-9]+', 'N', path)} {status}"] += 1


def _sold_out(response: httpx.Response) -> bool:
    return response.status_code == 422 and bool(_SOLD_OUT.search(_notice(response.text)))


def _hidden(page: str, name: str) -> str:
    found = re.search(_FIELD.format(name), page)
    if found is None:
        raise JourneyError(f"the page has no field {name}")
    return found.group(1)


def _notice(page: str) -> str:
    """Return the text of the page's first notice, or an empty text."""
    found = _NOTICE.search(page)
    return " ".join(found[1].split()) if found else ""
