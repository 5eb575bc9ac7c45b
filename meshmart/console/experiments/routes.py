"""The routes of the experiments: which there are, which one is being played, and how each ended."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from meshmart.console.admins import Admins
from meshmart.console.changes import changing
from meshmart.console.experiments.runner import BusyError, Result, Runner
from meshmart.console.refusal import RefusedError
from meshmart.lessons.experiments import EXPERIMENTS, READ_BOOKS, verb
from meshmart.lessons.explain import explain
from meshmart.lessons.model import Lesson, lessons
from meshmart.running import VARIABLE


def verbs() -> Mapping[str, Sequence[str]]:
    """Return the arguments of `meshmart` that play each experiment, as the runner wants them."""
    return {name: (*verb(name), "--json") for name in EXPERIMENTS}


def elsewhere(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the experiments that cannot be played here, and why.

    On Kubernetes the console has no access to the shop's database, as the toolbox has.
    """
    if environ.get(VARIABLE) != "kubernetes" or environ.get("MESHMART_DATABASE_URL"):
        return {}
    why = "It reads the shop's database, which the console may not. Run {} --context CONTEXT instead."
    return {name: why.format(_command(name)) for name in READ_BOOKS}


def routes(runner: Runner, admins: Admins, refused: Mapping[str, str]) -> list[Route]:
    """Return the routes.

    Args:
        runner: Plays the experiments.
        admins: Knows who may start and stop them.
        refused: The experiments that cannot be played here, and why.
    """

    async def all_of_them(_: Request) -> Response:
        return JSONResponse({"experiments": _experiments(refused), "lessons": _lessons()})

    async def state(_: Request) -> Response:
        return JSONResponse(runner.state())

    async def result(request: Request) -> Response:
        found = runner.results.get(request.path_params["name"])
        return JSONResponse(_result(found)) if found else PlainTextResponse("no result yet\n", 404)

    async def start(who: str, body: Mapping[str, Any]) -> Response:
        name = body.get("name")
        if not isinstance(name, str) or name not in EXPERIMENTS:
            raise RefusedError(404, "there is no such experiment")
        if name in refused:
            raise RefusedError(409, refused[name])
        try:
            await runner.start(name, who)
        except BusyError as e:
            raise RefusedError(409, str(e)) from None
        return JSONResponse(runner.state(), 202)

    async def stop(who: str, _: Mapping[str, Any]) -> Response:
        if not await runner.stop(who):
            raise RefusedError(409, "no experiment is being played")
        return JSONResponse(runner.state(), 202)

    return [
        Route("/api/experiments", all_of_them),
        Route("/api/experiments/state", state),
        changing("/api/experiments/start", admins, start),
        changing("/api/experiments/stop", admins, stop),
        Route("/api/experiments/of/{name}", result),
    ]


def _experiments(refused: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shows": shows, "command": _command(name), "refused": refused.get(name, "")}
        for name, shows in EXPERIMENTS.items()
    ]


def _lessons() -> list[dict[str, Any]]:
    return [_lesson(lesson) for lesson in lessons().values()]


def _lesson(lesson: Lesson) -> dict[str, Any]:
    """Return the parts of the lessons that a learner may read before answering."""
    return {
        "name": lesson.name,
        "title": lesson.title,
        "experiment": lesson.experiment,
        "intro": lesson.intro,
        "question": lesson.question,
        "choices": [choice.text for choice in lesson.choices],
        "look": [asdict(look) for look in lesson.look],
        "command": _command(lesson.experiment),
        "by_hand": lesson.by_hand,
        "why": lesson.why,
        "page": lesson.page,
    }


def _command(experiment: str) -> str:
    return " ".join(("meshmart", *verb(experiment)))


def _result(result: Result) -> dict[str, Any]:
    """Return a result, and what it means for each lesson that uses this experiment."""
    return {
        **asdict(result),
        "lessons": {
            lesson.name: asdict(explain(lesson, result.outcome))
            for lesson in lessons().values()
            if lesson.experiment == result.experiment and result.outcome is not None
        },
    }
