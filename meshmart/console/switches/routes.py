"""The routes of the switches: POST /api/do, /api/undo and /api/put-back, GET /api/actions."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshmart.console.admins import Admins
from meshmart.console.changes import changing
from meshmart.console.refusal import RefusedError
from meshmart.console.switches.actions import ACTIONS
from meshmart.console.switches.runner import Run, Runner


def switch_routes(admins: Admins, runner: Runner) -> Sequence[Route]:
    """Return the routes.

    Each POST is answered with 202 as soon as the action has begun. The frames say (`switches`) how it ended.
    """

    async def do(actor: str, wanted: Mapping[str, Any]) -> Response:
        name, given = wanted.get("action"), wanted.get("arguments", {})
        if not isinstance(name, str) or not isinstance(given, dict):
            raise RefusedError(400, "the body must be {action: NAME, arguments: {…}}")
        return _begun(await runner.start(actor, name, given))

    async def undo(actor: str, wanted: Mapping[str, Any]) -> Response:
        return _begun(await runner.undo(actor, str(wanted.get("id", ""))))

    async def put_back(actor: str, wanted: Mapping[str, Any]) -> Response:
        return _begun(await runner.put_back(actor))

    async def table(request: Request) -> Response:
        return JSONResponse({"actions": [action.told() for action in ACTIONS.values()]})

    return (
        changing("/api/do", admins, do),
        changing("/api/undo", admins, undo),
        changing("/api/put-back", admins, put_back),
        Route("/api/actions", table),
    )


def _begun(run: Run) -> Response:
    return JSONResponse({"id": run.id, "words": run.words}, 202)
