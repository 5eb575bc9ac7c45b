"""The routes of the experiments: only an admin's own page starts one, and everybody sees how it ended."""

import asyncio
import inspect
import json
import os
from functools import partial
from types import ModuleType
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette

from grpcmesh.clock import monotonic
from local.tasks import until as polled
from meshmart.console.admins import COOKIE, Admins
from meshmart.console.experiments.program import Program
from meshmart.console.experiments.routes import elsewhere, routes
from meshmart.console.experiments.runner import Runner
from meshmart.console.login import login_routes
from meshmart.console.origins import Origins
from meshmart.lessons.experiments import EXPERIMENTS, load
from meshmart.lessons.model import lessons
from meshmart.tour.check import Check, Outcome
from tests.unit.meshmart.console.test_admins import PASSWORD, FakeAccounts
from tests.unit.meshmart.console.test_experiment_runner import STUB, Deeds

HERE = "http://127.0.0.1:8081"
OWN = {"origin": HERE, "content-type": "application/json"}
#: What cannot be played here, and why.
REFUSED = {"streams": "It reads the shop's database."}
KILL = Outcome("kill", (Check("failed reads of 900", 7, 0, relation="=="),))


@pytest.fixture
async def client() -> Any:
    """A client of the console, and its runner, whose kill is a stub."""
    deeds: Any = Deeds()
    start = partial(Program.start, program=STUB)
    verbs = {"kill": ("play", json.dumps(KILL.as_dict())), "balance": ("hang",)}
    runner = Runner(verbs, os.environ, lambda: 5.0, monotonic, deeds, start)
    admins = Admins(FakeAccounts(), Origins(""))
    app = Starlette(routes=[*login_routes(admins, deeds), *routes(runner, admins, REFUSED)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as made:
        yield made
    await runner.aclose()


async def log_in(client: httpx.AsyncClient) -> None:
    told = await client.post("/api/login", headers=OWN, json={"name": "alice", "password": PASSWORD})
    assert told.status_code == 200
    assert COOKIE in client.cookies


async def start(client: httpx.AsyncClient, name: object, **headers: str) -> int:
    told = await client.post("/api/experiments/start", headers=OWN | headers, json={"name": name})
    return told.status_code


async def test_an_admin_starts_one_and_everybody_sees_how_it_ended(client: httpx.AsyncClient) -> None:
    await log_in(client)
    assert await start(client, "kill") == 202
    client.cookies.clear()
    told: dict[str, Any] = {}

    async def ended() -> bool:
        told.update((await client.get("/api/experiments/state")).json())
        return told["running"] is None

    async with asyncio.timeout(120):
        await polled(ended, 0.01)
    assert told["results"]["kill"]["verdict"] == "failed"
    assert told["results"]["kill"]["by"] == "alice"
    result = (await client.get("/api/experiments/of/kill")).json()
    assert result["lines"] == ["  breaking it"]
    assert result["outcome"]["checks"][0]["measured_text"] == "7"
    assert result["lessons"]["kill"]["answer"] == 1
    assert (await client.get("/api/experiments/of/balance")).status_code == 404


async def test_nobody_else_starts_or_stops_one(client: httpx.AsyncClient) -> None:
    assert await start(client, "kill") == 401
    await log_in(client)
    assert await start(client, "kill", origin="http://127.0.0.1:8080") == 403
    assert await start(client, "kill", **{"content-type": "text/plain"}) == 415
    stop = await client.post("/api/experiments/stop", headers={"origin": "https://evil.example"}, json={})
    assert stop.status_code == 403
    assert (await client.get("/api/experiments/state")).json()["running"] is None


async def test_one_at_a_time_and_it_can_be_stopped(client: httpx.AsyncClient) -> None:
    await log_in(client)
    assert await start(client, "balance") == 202
    assert await start(client, "kill") == 409
    assert await start(client, "nothing") == 404
    assert await start(client, ["kill"]) == 404
    assert await start(client, "streams") == 409
    assert (await client.post("/api/experiments/stop", headers=OWN, json={})).status_code == 202


async def test_what_cannot_be_played_here_is_said_before_anybody_tries(client: httpx.AsyncClient) -> None:
    told = (await client.get("/api/experiments")).json()["experiments"]
    assert {e["name"]: e["refused"] for e in told if e["refused"]} == REFUSED


def test_only_in_a_pod_without_a_database_the_scenes_that_read_the_books_are_refused() -> None:
    pod = {"MESHMART_CLUSTER": "kubernetes"}
    assert elsewhere({}) == elsewhere(pod | {"MESHMART_DATABASE_URL": "postgresql://shop"}) == {}
    told = elsewhere(pod)
    assert "Run meshmart tour streams --context CONTEXT" in told["streams"]
    # The scene's own source, so that a scene that begins to read the books is noticed.
    assert told.keys() == {
        name for name in EXPERIMENTS if "stage.audit(" in inspect.getsource(cast(ModuleType, load(name)))
    }


async def test_a_lesson_does_not_tell_its_answer_before(client: httpx.AsyncClient) -> None:
    told = (await client.get("/api/experiments")).json()
    assert [lesson["name"] for lesson in told["lessons"]] == list(lessons())
    assert len([e for e in told["experiments"] if e["command"].startswith("meshmart tour")]) == 12
    for lesson in told["lessons"]:
        assert {"least", "most", "figure"}.isdisjoint(lesson)
