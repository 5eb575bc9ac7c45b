"""The routes of log-in and log-out: POST /api/login, POST /api/logout, GET /api/session."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshmart.console.admins import Admins
from meshmart.console.changes import body, check
from meshmart.console.records import Records
from meshmart.console.refusal import RefusedError


def login_routes(admins: Admins, records: Records) -> Sequence[Route]:
    """Return the routes.

    Args:
        admins: Knows who is logged in.
        records: Notes who has logged in and out.
    """

    async def log_in(request: Request) -> Response:
        try:
            check(request, admins.origins)
            wanted = await body(request)
            name, password = _text(wanted.get("name")), _text(wanted.get("password"))
            begun = await admins.log_in(request, name, password)
        except RefusedError as e:
            return e.response()
        answer = JSONResponse({"name": begun.name})
        begun.give_to(answer)
        await records.note(begun.name, "log-in", f"{begun.name} logged in")
        return answer

    async def log_out(request: Request) -> Response:
        try:
            check(request, admins.origins)
        except RefusedError as e:
            return e.response()
        name, answer = admins.name(request), JSONResponse({"name": ""})
        await admins.log_out(request, answer)
        if name:
            await records.note(name, "log-out", f"{name} logged out")
        return answer

    async def session(request: Request) -> Response:
        return JSONResponse({"name": admins.name(request), "switches": admins.may_change})

    return (
        Route("/api/login", log_in, methods=["POST"]),
        Route("/api/logout", log_out, methods=["POST"]),
        Route("/api/session", session),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
