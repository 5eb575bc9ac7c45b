"""What all pages share: the ports, the templates, the assets, and the rendering of a response."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.look.files import FILES
from services.storefront import art
from services.storefront.domain import Category, Place, Problem, Shop, ShopError
from services.storefront.forms import integer
from services.storefront.settings import Settings
from services.storefront.tracking import Note, Tracking
from services.storefront.visit import visit_of

_HERE = Path(__file__).parent
#: The last page that can be requested by its number, and the longest token.
_MAX_PAGE, _MAX_TOKEN = 10_000, 200
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

#: Notices that a page shows once, after a redirect: their tone and their text.
NOTICES: Mapping[str, tuple[str, str]] = {
    "added": ("good", "Added to your cart."),
    "cart-full": ("bad", "Your cart is full: remove something first."),
    "updated": ("good", "Your cart is up to date."),
    "removed": ("good", "Removed from your cart."),
    "sent-before": (
        "bad",
        "This order was sent before, with other details. Here is what came of it.",
    ),
    "placed": ("good", "Thank you! Your order is placed."),
    "changed": ("good", "The order has been changed."),
    "logged-in": ("good", "Welcome back."),
    "registered": ("good", "Your account is ready."),
    "password-changed": ("good", "Your password is changed. Everywhere else you have to log in again."),
    "password-reset": ("good", "Your password is changed. Log in with it."),
    "code-sent": ("good", "If there is such an account, a code is on its way to its email address."),
    "account-deleted": ("good", "Your account is deleted. Good-bye!"),
    "logged-out": ("good", "You are logged out."),
    "logged-out-here": (
        "bad",
        "You are logged out in this browser. The shop could not be told; there the session ends by itself.",
    ),
}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    media_type: str
    digest: str

    @classmethod
    def of(cls, name: str, body: bytes) -> "Asset":
        return cls(body, _TYPES[Path(name).suffix], hashlib.sha256(body).hexdigest()[:12])


class Assets:
    """The files of `static/`, and those that all pages of Meshmart share; read once.

    Their URLs carry a digest, so that browsers may cache them.
    """

    def __init__(self, directory: Path = _HERE / "static") -> None:
        own = {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.suffix in _TYPES}
        self._assets = {name: Asset.of(name, body) for name, body in {**FILES, **own}.items()}

    def get(self, name: str) -> Asset | None:
        return self._assets.get(name)

    def url(self, name: str) -> str:
        return f"/static/{name}?v={self._assets[name].digest}"


class Site:
    """The shop as the pages use it.

    Args:
        shop: The services.
        settings: The storefront's settings.
        replica: This process's name, such as `storefront-1`.
        name_of: Returns the name of the replica at an address.
        identity: Returns the SPIFFE id of a service.
        tracking: Records what visitors look at.
    """

    def __init__(
        self,
        shop: Shop,
        settings: Settings,
        replica: str,
        name_of: Callable[[str], str] = str,
        identity: Callable[[str], str] = str,
        tracking: Tracking | None = None,
    ) -> None:
        self.tracking = tracking or Tracking(_nobody, time.time)
        self.shop, self.settings, self.replica, self.name_of = shop, settings, replica, name_of
        self.assets = Assets()
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            auto_reload=False,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(money=money, when=when, iso=datetime.isoformat, art=art.url_of)
        self._templates.globals.update(asset=self.assets.url, categories=tuple(Category), identity=identity)

    def page(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """Render a page with the data of the request's visit."""
        visit = visit_of(request)
        common = {
            "query": "",
            "category": None,
            "visit": visit,
            "session": visit.session,
            "notice": NOTICES.get(visit.take_notice()),
            "trail": visit.trail,
            "replica": self.replica,
            "traces": self.settings.traces_url,
            "demo_users": self.settings.demo_users,
            "path": request.url.path,
        }
        body = self._templates.get_template(template).render(
            {"query": "", "category": None, **common, **context}
        )
        return HTMLResponse(body, status)

    def login_required(self, request: Request) -> Response:
        """Redirect to the log-in page, which leads back here."""
        back = request.url.path if request.method == "GET" else "/checkout"
        return RedirectResponse(f"/login?next={back}", 303)


async def _nobody(notes: Sequence[Note]) -> None:
    """Discard the notes."""


def see(path: str) -> Response:
    """Return the response to a successful POST: a redirect to a page."""
    return RedirectResponse(path, 303)


class NumberConvertor(Convertor[int]):
    """The convertor of `{id:number}` in a path.

    Starlette's `int` accepts any number of digits; int() fails above 4,300.
    """

    regex = "[0-9]{1,10}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", NumberConvertor())


def path_id(request: Request) -> int:
    """Return the `{id:number}` in the path.

    Raises ShopError (NOT_FOUND) if no service can have such an id.
    """
    value: int = request.path_params["id"]
    if not 0 < value < 2**31:
        raise ShopError(Problem.NOT_FOUND, "there is no such thing")
    return value


def page_place(request: Request) -> Place:
    """Return the page of a listing that the query names: `page` is its number, `after` is the page's
    token.
    """
    params = request.query_params
    return Place(integer(params.get("page", ""), 1, 1, _MAX_PAGE), params.get("after", "")[:_MAX_TOKEN])


def money(cents: int) -> str:
    """Format cents as `$1,234.50`."""
    sign = "-" if cents < 0 else ""
    return f"{sign}${abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def when(at: datetime) -> str:
    """Format a time as `21 Nov 2026, 14:03 UTC`."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"
