"""Copies of objects that watches keep up to date, where the API server forgets versions and is silent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError, NoAnswerError
from meshmart.kubernetes import watching
from meshmart.kubernetes.api import Api, ApiError, Object
from meshmart.kubernetes.cluster import KubernetesCluster
from meshmart.kubernetes.watching import Copy
from tests.unit.meshmart.api_objects import deployment, pod

SILENT = "the Kubernetes API at https://10.96.0.1:443 does not answer: TimeoutError"


class Server:
    """A namespace whose objects change. Each version is a change; a watch gets those after its own."""

    namespace = "meshmart"

    def __init__(self, *pods: Object) -> None:
        self.changes: list[tuple[str, Object]] = [("ADDED", one) for one in pods]
        self.forgotten = 0
        self.silent = False
        self.lists = self.watches = 0
        self._changed = asyncio.Event()

    def change(self, kind: str, one: Object) -> None:
        self.changes.append((kind, one))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def snapshot(self, kind: str, selector: str) -> tuple[list[Object], str]:
        self.lists += 1
        if self.silent:
            raise NoAnswerError(SILENT)
        if kind != "pods":
            return ([deployment()] if kind == "deployments" else []), "1"
        known: dict[str, Object] = {}
        for what, one in self.changes:
            known.pop(one["metadata"]["name"], None)
            if what != "DELETED":
                known[one["metadata"]["name"]] = one
        return list(known.values()), str(len(self.changes))

    async def log(self, pod: str, container: str, lines: int) -> str:
        return f"the log of {pod}\n"

    async def watch(self, kind: str, selector: str, version: str, seconds: int) -> AsyncIterator[Object]:
        self.watches += 1
        if self.silent:
            raise NoAnswerError(SILENT)
        if kind != "pods":
            await asyncio.sleep(seconds)
            return
        at = int(version)
        if at < self.forgotten:
            yield {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
            return
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            for what, one in self.changes[at:]:
                at += 1
                yield {"type": what, "object": _versioned(one, at)}
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(at)}}}


def _versioned(one: Object, version: int) -> Object:
    return {**one, "metadata": {**one["metadata"], "resourceVersion": str(version)}}


def watched(test: Callable[[Server, Copy], Any], *pods: Object) -> None:
    """Run a test in virtual time, with a copy of the pods of a server."""

    async def run() -> None:
        server = Server(*pods)
        copy = Copy(cast(Api, server), "pods", "")
        watching = asyncio.create_task(copy.run())
        try:
            await test(server, copy)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    run_in_virtual_time(run())


async def names(copy: Copy) -> set[str]:
    return {one["metadata"]["name"] for one in await copy.read()}


def test_changes_arrive_at_once_and_a_minute_costs_two_requests() -> None:
    async def test(server: Server, copy: Copy) -> None:
        assert await names(copy) == {"product-a"}
        server.change("ADDED", pod("product-b"))
        server.change("DELETED", pod("product-a"))
        await asyncio.sleep(0.01)
        assert await names(copy) == {"product-b"}
        for _ in range(200):
            await asyncio.sleep(0.3)
            assert await names(copy) == {"product-b"}
        assert server.lists == 1
        assert server.watches <= 3

    watched(test, pod("product-a"))


def test_no_change_is_lost_between_two_watches() -> None:
    async def test(server: Server, copy: Copy) -> None:
        await copy.read()
        await asyncio.sleep(watching.WATCH + watching.PAUSE / 2)
        server.change("ADDED", pod("product-b"))
        await asyncio.sleep(watching.PAUSE)
        assert await names(copy) == {"product-a", "product-b"}
        assert server.lists == 1

    watched(test, pod("product-a"))


def test_it_lists_again_when_the_server_has_forgotten_the_version() -> None:
    async def test(server: Server, copy: Copy) -> None:
        await copy.read()
        server.forgotten = 99
        server.changes.append(("DELETED", pod("product-a")))  # the watch is not told
        await asyncio.sleep(watching.WATCH + 4 * watching.PAUSE)
        assert await names(copy) == set()
        assert server.lists >= 2

    watched(test, pod("product-a"))


def test_a_silent_server_is_asked_ever_less_and_taken_up_again() -> None:
    async def test(server: Server, copy: Copy) -> None:
        await copy.read()
        server.silent = True
        await asyncio.sleep(watching.WATCH + 600)
        with pytest.raises(ClusterError, match="does not answer"):
            await copy.read()
        asked = server.lists + server.watches
        assert asked < 60
        server.silent = False
        await asyncio.sleep(watching.MAX_PAUSE)
        assert await names(copy) == {"product-a"}

    watched(test, pod("product-a"))


def test_the_first_reader_waits_for_the_answer_and_is_told_of_a_refusal() -> None:
    class Refuses(Server):
        async def snapshot(self, kind: str, selector: str) -> tuple[list[Object], str]:
            raise ApiError(403, "Kubernetes refuses (403): pods is forbidden")

    async def test() -> None:
        copy = Copy(cast(Api, Refuses()), "pods", "")
        task = asyncio.create_task(copy.run())
        with pytest.raises(ClusterError, match="forbidden"):
            await copy.read()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_in_virtual_time(test())


def test_what_a_watched_cluster_says_costs_no_request_and_shows_who_is_draining() -> None:
    async def test() -> None:
        server = Server(pod("product-a"), pod("product-b"))
        cluster = KubernetesCluster(cast(Api, server), {})
        async with cluster._stack:
            await cluster.watch()
            await cluster.status()
            server.change("MODIFIED", pod("product-a", deleted=True))
            server.change("MODIFIED", pod("product-b", deleted=True, phase="Failed"))
            server.change("ADDED", pod("product-c", ready=False, ip=""))
            await asyncio.sleep(0.01)
            for _ in range(50):
                status = await cluster.status()
            for number, name in ((1, "product-a"), (3, "product-c")):
                assert await cluster.logs("product", number, 10) == [f"the log of {name}"]
            with pytest.raises(ClusterError, match="there is no product/2"):
                await cluster.logs("product", 2, 10)
        replicas = status["services"]["product"]["replicas"]
        assert [(r["id"], r["pod"], r["ready"], r["draining"]) for r in replicas] == [
            (1, "product-a", False, True),
            (3, "product-c", False, False),
        ]
        assert server.lists == 3
        assert server.watches == 3

    run_in_virtual_time(test())


def test_the_number_of_a_pod_stays_while_hundreds_come_and_go() -> None:
    from meshmart.kubernetes.objects import Numbers

    numbers, oldest = Numbers(), pod("product-a")
    for turn in range(5_000):
        passing = pod(f"product-{turn}", created="2026-11-28T00:00:00Z")
        assert [n for n, _ in numbers.numbered("product", [oldest, passing])] == [1, turn + 2]
    assert len(numbers._given["product"]) < 1_100
