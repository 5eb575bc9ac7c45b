"""Reads forms within bounds, checks them against forgery, and assigns errors to their inputs."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront.domain import ShopError
from services.storefront.visit import visit_of

Form = Mapping[str, str]
FormHandler = Callable[[Request, Form], Awaitable[Response]]

#: The content type of a form.
FORM_TYPE = "application/x-www-form-urlencoded"
#: The most bytes of a request's body, and the most fields of a form. No form of ours comes near.
MAX_BODY, MAX_FIELDS = 32 * 1024, 64
#: The most digits of a number: the time of int() grows with the square of the length.
_MAX_DIGITS = 10


async def body(request: Request) -> bytes:
    """Return the request's body. Raises HTTPException (413) above `MAX_BODY` bytes."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY:
            raise HTTPException(413, "That is more than any form of this shop sends.")
    return bytes(received)


async def read_form(request: Request) -> Form:
    """Return the stripped fields of a URL-encoded form. If a name repeats, the last one counts.

    Raises:
        HTTPException: 400 if it cannot be parsed, 413 if it is too large.
    """
    sent = await body(request)
    try:
        if sent and request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
            raise ValueError("no form")
        text = sent.decode()
        return {k: v.strip() for k, v in parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)}
    except ValueError as e:
        raise HTTPException(400, "That form could not be read.") from e


def check_forgery(request: Request, form: Form) -> None:
    """Raise HTTPException (403) for a form that our own page did not send.

    There are three checks: cookies are SameSite=Lax; if the browser names an origin, it must be ours; and the
    form must repeat the token of the visitor's cookie (OWASP: double submit).
    """
    expected = request.cookies.get("csrf", "")
    if (
        _is_foreign(request)
        or not expected
        or not secrets.compare_digest(form.get("csrf", "").encode(), visit_of(request).csrf.encode())
    ):
        raise HTTPException(
            403, "This form has expired, or was not sent from this shop. Go back and try again."
        )


def _is_foreign(request: Request) -> bool:
    """Return whether the browser says that another site sent the form."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    except ValueError:  # such as http://[
        return True


def form_route(path: str, handler: FormHandler) -> Route:
    """Return a POST route whose handler gets a form that has passed the forgery check.

    Every POST route is made with it.
    """

    async def endpoint(request: Request) -> Response:
        form = await read_form(request)
        check_forgery(request, form)
        return await handler(request, form)

    return Route(path, endpoint, methods=["POST"])


def whole_number(text: str, low: int, high: int) -> int | None:
    """Return the number that a person typed, or None if it is no whole number from `low` to `high`.

    Only ASCII digits count, without sign, fraction or exponent; a field that means a quantity or a page must
    not be guessed from anything else.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        return None
    number = int(text)
    return number if low <= number <= high else None


def integer(text: str, default: int, low: int, high: int) -> int:
    """Return a number of a form or query, limited to [low, high], or the default if it is not a number."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return default
    return max(low, min(high, int(text)))


def cents(text: str) -> int:
    """Return a price such as `12` or `12.50` in cents, or 0 if it is not a price."""
    whole, _, part = text.strip().partition(".")
    part = (part + "00")[:2]
    if not (whole + part).isascii() or not (whole + part).isdigit() or len(whole) > 7:
        return 0
    return int(whole or 0) * 100 + int(part)


def local_path(text: str) -> str:
    """Return the path if it is one of ours, else the front page. Prevents open redirects."""
    safe = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if safe else "/"


def field_errors(error: ShopError, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the error text for each input of a form.

    Args:
        error: Names fields by their path in the request, such as `shipping_address.city`.
        inputs: The input's name for the last part of that path. An error without an input is put under
            `form`.
    """
    found: dict[str, str] = {}
    for path, text in error.fields.items():
        name = inputs.get(path.rpartition(".")[2])
        found.setdefault(name or "form", text if name else f"{path}: {text}")
    return found or {"form": error.message}
