"""A tour on a cluster that does not always answer: each scene has an outcome all the same."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local.errors import ClusterError, NoAnswerError
from meshmart.tour import command
from meshmart.tour.check import Check, Outcome
from meshmart.tour.elsewhere import STALLS, WAITED, elsewhere
from meshmart.tour.stage import Stage
from meshmart.tour.starvation import Watch

SILENT = "the Kubernetes API at https://10.96.0.1:443 does not answer: TimeoutError"


class Cluster:
    """A cluster of one replica of product, whose pod has this metrics page.

    Args:
        metrics: The URL of the page.
        silent: What raises NoAnswerError: `status`, `restore`, `endpoints`.
    """

    def __init__(
        self, metrics: str = "http://127.0.0.1:1/metrics", silent: frozenset[str] = frozenset()
    ) -> None:
        self._metrics, self.silent = metrics, silent
        self.number = 1
        self.restored: set[str] = set()

    async def status(self) -> dict[str, Any]:
        self._answer("status")
        replica = {"id": self.number, "pid": None, "ready": True, "metrics": self._metrics}
        return {"services": {"product": {"replicas": [replica]}}}

    async def endpoints(self, service: str) -> list[Any]:
        self._answer("endpoints")
        return []

    async def restore(self, service: str) -> None:
        self._answer("restore")
        self.restored.add(service)

    def _answer(self, what: str) -> None:
        if what in self.silent:
            raise NoAnswerError(SILENT)


class Scene:
    """A scene that scales product and measures `measured`, which must be 0."""

    SHOWS = "nothing"

    def __init__(self, name: str, measured: float = 0.0, during: Any = lambda: None) -> None:
        self.NAME, self._measured, self._during = name, measured, during

    async def play(self, stage: Stage) -> list[Check]:
        stage.scaled.add("product")
        self._during()
        return [Check("failed calls", self._measured, 0, relation="==")]


def stage_of(cluster: Cluster, said: list[str]) -> Stage:
    nothing: Any = None
    fake: Any = cluster
    return Stage(fake, nothing, nothing, said.append, nothing)


def played(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster, scenes: list[Scene], said: list[str]
) -> list[Outcome]:
    @contextlib.asynccontextmanager
    async def stage(*_: object) -> AsyncIterator[Stage]:
        yield stage_of(cluster, said)

    monkeypatch.setattr(command, "_stage", stage)
    plays: Any = scenes
    return asyncio.run(command._play(plays, Path(), False, command.Printer(silent=True)))


def test_scenes_have_their_outcomes_though_the_api_server_does_not_answer_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()

    def fall_silent() -> None:
        cluster.silent = frozenset({"status"})

    scenes = [Scene("one", during=fall_silent), Scene("two")]
    assert [o.passed for o in played(monkeypatch, cluster, scenes, [])] == [True, True]


def test_replicas_that_cannot_be_restored_cost_no_outcome_and_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    outcomes = played(monkeypatch, Cluster(silent=frozenset({"restore"})), [Scene("one")], said)
    assert [o.passed for o in outcomes] == [True]
    assert said[-1] == f"product gets them when its lease ends, because now it failed: {SILENT}"


def test_replicas_are_restored_also_if_nobody_reads_the_output_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    cluster = Cluster()
    stage = replace(stage_of(cluster, []), say=command.Printer(silent=False).say, scaled={"product", "order"})
    with contextlib.suppress(BrokenPipeError), open(writer, "w") as gone:
        monkeypatch.setattr("sys.stdout", gone)
        asyncio.run(stage.restore())
    assert cluster.restored == {"product", "order"}


async def test_what_does_not_answer_is_asked_again_and_what_refuses_is_not() -> None:
    stage = stage_of(Cluster(), [])
    answers: list[Any] = [NoAnswerError(SILENT), None, NoAnswerError(SILENT), 7]

    async def look() -> int | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    assert await stage.until(look, "it answers", timeout=60, interval=0) == 7
    answers[:] = [ClusterError("there is no service 'product'"), 7]
    with pytest.raises(ClusterError, match="there is no service"):
        await stage.until(look, "it answers", timeout=60, interval=0)


@contextlib.contextmanager
def page(figures: dict[str, float]) -> Iterator[str]:
    """Yield the URL of a metrics page with these figures, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = "".join(f"{name} {value}\n" for name, value in figures.items())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
        finally:
            server.shutdown()
            thread.join()


def seen(url: str, during: Callable[[], None], cluster: Cluster | None = None) -> str:
    """The verdict on the replica with this page, whose figures `during` changes."""

    async def test() -> str:
        watch = Watch([])
        async with elsewhere(stage_of(cluster or Cluster(url), []), watch):
            during()
        return watch.verdict

    return asyncio.run(test())


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, ""),
        ({STALLS: 3.0}, "product/1 waited 0.0 s of "),  # half a second at a time
        ({WAITED: 1e6}, "product/1 waited 999995.0 s of "),  # more than a quarter of the time
    ],
)
def test_a_replica_in_a_pod_that_got_no_cpu_is_named(change: dict[str, float], verdict: str) -> None:
    figures = {WAITED: 5.0, STALLS: 2.0}
    with page(figures) as url:
        told = seen(url, lambda: figures.update(change))
    assert told.startswith(verdict)
    assert bool(told) is bool(change)


def test_a_replica_whose_kernel_reports_nothing_is_not_watched() -> None:
    with page({"mesh_event_loop_lag_seconds": 3.0}) as url:
        assert seen(url, lambda: None) == ""


def test_a_replica_that_began_meanwhile_counts_from_its_beginning() -> None:
    with page({WAITED: 1e6, STALLS: 0.0}) as url:
        cluster = Cluster(url)
        told = seen(url, lambda: setattr(cluster, "number", 2), cluster)
    assert told.startswith("product/2 waited 1000000.0 s of ")


def test_nobody_is_watched_if_the_api_server_did_not_answer_before() -> None:
    with page({WAITED: 1e6, STALLS: 9.0}) as url:
        cluster = Cluster(url, silent=frozenset({"status"}))
        assert seen(url, lambda: setattr(cluster, "silent", frozenset()), cluster) == ""


def test_a_replica_that_has_gone_is_not_watched() -> None:
    figures = {WAITED: 5.0, STALLS: 2.0}
    with page(figures) as url:
        assert seen(url, figures.clear) == ""


def test_the_tour_watches_replicas_in_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {WAITED: 5.0, STALLS: 2.0}
    with page(figures) as url:
        scene = Scene("kill", measured=278, during=lambda: figures.update({STALLS: 3.0}))
        (outcome,) = played(monkeypatch, Cluster(url), [scene], [])
    # By itself or by the replica: this machine may be short of CPU.
    assert (outcome.measured, outcome.passed) == (False, False)
