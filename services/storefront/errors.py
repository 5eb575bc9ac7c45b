"""Renders a failed call: as a page with a way to continue, or as JSON for the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.storefront.domain import Problem, ShopError
from services.storefront.site import Site
from services.storefront.visit import visit_of


@dataclass(frozen=True, slots=True)
class Face:
    """The presentation of a problem."""

    status: int
    title: str
    text: str


FACES: Mapping[Problem, Face] = {
    Problem.INVALID: Face(400, "That did not add up", "Something in the request was not right."),
    Problem.NOT_FOUND: Face(
        404, "Not on our shelves", "What you are looking for is not here, or not any more."
    ),
    Problem.EXISTS: Face(409, "Already there", "That exists already."),
    Problem.RULE: Face(409, "That cannot be done now", "The shop's rules do not allow that at the moment."),
    Problem.LOGIN: Face(401, "Please log in", "This page is for its owner only."),
    Problem.FORBIDDEN: Face(403, "Not yours to see", "You are logged in, but this belongs to somebody else."),
    Problem.BUSY: Face(
        429, "A bit too busy", "Many people are shopping right now. Take a breath and try again."
    ),
    Problem.UNAVAILABLE: Face(
        503, "Back in a moment", "A part of the shop does not answer at the moment. Try again shortly."
    ),
    Problem.UNSUPPORTED: Face(
        503, "Back in a moment", "A part of the shop is being upgraded at the moment. Try again shortly."
    ),
    Problem.TIMEOUT: Face(
        504, "That took too long", "A part of the shop did not answer in time. Try again shortly."
    ),
    Problem.BROKEN: Face(502, "Something broke", "It is our fault, and it has been written down."),
}
#: Transient problems: their page offers to try again.
PASSING = frozenset({Problem.BUSY, Problem.UNAVAILABLE, Problem.UNSUPPORTED, Problem.TIMEOUT, Problem.BROKEN})


def is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def as_json(error: ShopError) -> Response:
    """Return the JSON response for an error. The API has no other form."""
    detail = {
        "problem": error.problem.value,
        "message": error.message or FACES[error.problem].text,
        "fields": error.fields,
        "reason": error.reason,
        "facts": error.facts,
    }
    return JSONResponse({"error": detail}, FACES[error.problem].status, headers=_headers(error))


class ErrorPages:
    """Exception handlers of the app."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def shop_error(self, request: Request, error: Exception) -> Response:
        """Handle a `ShopError` that no page has handled."""
        assert isinstance(error, ShopError)
        if is_api(request):
            return as_json(error)
        if error.problem is Problem.LOGIN:
            visit_of(request).log_out()
            return self._site.login_required(request)
        face = FACES[error.problem]
        # The service's own message helps if the visitor can do something about it.
        tells = error.problem in (Problem.INVALID, Problem.RULE, Problem.EXISTS)
        response = self._page(request, face, error.message if tells else "", error.problem in PASSING)
        response.headers.update(_headers(error))
        return response

    async def http_error(self, request: Request, error: Exception) -> Response:
        """Handle an unknown path, a wrong method, or a form that was refused."""
        assert isinstance(error, HTTPException)
        if is_api(request):
            detail = {"problem": "http", "message": error.detail, "fields": {}, "reason": ""}
            return JSONResponse({"error": detail}, error.status_code)
        if error.status_code == 404:
            face = FACES[Problem.NOT_FOUND]
        else:
            face = Face(error.status_code, "That did not work", error.detail)
        return self._page(request, face, "", again=False)

    def _page(self, request: Request, face: Face, detail: str, again: bool) -> Response:
        if not hasattr(request.state, "visit"):
            return Response(face.text, face.status, media_type="text/plain")
        return self._site.page(request, "error.html", face.status, face=face, detail=detail, again=again)


def _headers(error: ShopError) -> dict[str, str]:
    if error.problem in (Problem.BUSY, Problem.UNAVAILABLE, Problem.UNSUPPORTED):
        return {"retry-after": str(max(1, ceil(error.retry_after or 1)))}
    return {}
