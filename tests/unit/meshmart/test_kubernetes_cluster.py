"""The Cluster port on Kubernetes, where the API server does not always answer."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError, NoAnswerError
from meshmart.cluster import Replica
from meshmart.kubernetes import leasing
from meshmart.kubernetes.api import Api, ApiError, Object
from meshmart.kubernetes.cluster import KubernetesCluster
from meshmart.kubernetes.conflicts import ATTEMPTS
from meshmart.leases import LEASE, RENEWAL
from tests.unit.meshmart.api_objects import deployment, pod

SILENT = "the Kubernetes API at https://10.96.0.1:443 does not answer: TimeoutError"


class FakeApi:
    """A namespace with a Deployment. Its pods are ready at once.

    Args:
        replicas: The pods of the Deployment.
        silent: The numbers of the requests for pods, counted from 1, that are not answered.
    """

    namespace = "meshmart"

    def __init__(self, replicas: int, silent: range = range(0)) -> None:
        self._replicas, self._silent = replicas, silent
        self.asked = 0

    async def list(self, kind: str, selector: str = "") -> list[Object]:
        if kind == "deployments":
            return [deployment(wanted=self._replicas)]
        if kind != "pods":
            return []
        self.asked += 1
        if self.asked in self._silent:
            raise NoAnswerError(SILENT)
        return [pod(f"product-{n}") for n in range(self._replicas)]

    async def log(self, pod: str, container: str, lines: int) -> str:
        return f"{container} of {pod}\nlast {lines} lines\n"

    async def patch(self, kind: str, name: str, body: Mapping[str, Any], part: str = "") -> Object:
        self._replicas = body["spec"]["replicas"]
        return deployment(wanted=self._replicas)


def scaled(api: FakeApi) -> None:
    async def test() -> None:
        await KubernetesCluster(cast(Api, api), {}).scale("product", 3)

    run_in_virtual_time(test())


def test_a_scaling_outlasts_an_api_server_that_does_not_answer_for_a_while() -> None:
    api = FakeApi(2, silent=range(1, 4))
    scaled(api)
    assert api.asked == 4


def test_a_scaling_that_the_api_server_never_confirmed_says_so() -> None:
    with pytest.raises(ClusterError, match=r"waited 240 s and it was not so: product .*does not answer"):
        scaled(FakeApi(2, silent=range(1, 100_000)))


def test_a_request_that_the_api_refuses_is_not_repeated() -> None:
    class Refuses(FakeApi):
        async def list(self, kind: str, selector: str = "") -> list[Object]:
            if kind == "pods":
                self.asked += 1
                raise ClusterError("Kubernetes refuses (403): pods is forbidden")
            return await super().list(kind, selector)

    api = Refuses(2)
    with pytest.raises(ClusterError, match="pods is forbidden"):
        scaled(api)
    assert api.asked == 1


class ConflictingApi(FakeApi):
    """Another client changes the Deployment after each of the first reads of it.

    Args:
        conflicts: The number of the patches that meet another version than the one that was read.
    """

    def __init__(self, conflicts: int) -> None:
        super().__init__(2)
        self._conflicts, self._version = conflicts, 7
        self.patched = 0

    async def get(self, kind: str, name: str) -> Object:
        made = deployment(wanted=self._replicas)
        made["metadata"]["resourceVersion"] = str(self._version)
        if self._conflicts > 0:
            self._conflicts -= 1
            self._version += 1
        return made

    async def patch(self, kind: str, name: str, body: Mapping[str, Any], part: str = "") -> Object:
        self.patched += 1
        if body["metadata"]["resourceVersion"] != str(self._version):
            raise ApiError(409, "Kubernetes refuses (409): the object has been modified")
        return await super().patch(kind, name, body, part)


def scaled_for_now(api: FakeApi) -> None:
    async def test() -> None:
        await KubernetesCluster(cast(Api, api), {}).scale_for_now("product", 3)

    run_in_virtual_time(test())


def test_a_deployment_that_changes_while_it_is_scaled_is_read_and_scaled_again() -> None:
    api = ConflictingApi(conflicts=3)  # the first after a read that decides whether to scale at all
    scaled_for_now(api)
    assert (api.patched, len(run_in_virtual_time(api.list("pods")))) == (3, 3)


def test_a_deployment_that_never_stops_changing_is_given_up() -> None:
    api = ConflictingApi(conflicts=100_000)
    with pytest.raises(ApiError, match="has been modified"):
        scaled_for_now(api)
    assert api.patched == ATTEMPTS


class LeasedApi(FakeApi):
    """Keeps the Deployment's annotations. Counts its patches."""

    def __init__(self) -> None:
        super().__init__(2)
        self.annotations: dict[str, str] = {}
        self.patched = 0

    async def get(self, kind: str, name: str) -> Object:
        made = deployment(wanted=self._replicas)
        made["metadata"] |= {"resourceVersion": "7", "annotations": self.annotations}
        return made

    async def list(self, kind: str, selector: str = "") -> list[Object]:
        return [await self.get("", "")] if kind == "deployments" else await super().list(kind, selector)

    async def patch(self, kind: str, name: str, body: Mapping[str, Any], part: str = "") -> Object:
        self.patched += 1
        changed = self.annotations | body["metadata"].get("annotations", {})
        self.annotations = {key: value for key, value in changed.items() if value is not None}
        self._replicas = body.get("spec", {}).get("replicas", self._replicas)
        return await self.get(kind, name)

    def expire(self) -> None:
        self.annotations |= {leasing.UNTIL: "0"}

    def by_hand(self, replicas: int) -> None:
        """Scale it as `kubectl scale` does, which knows of no lease."""
        self._replicas = replicas


@contextlib.asynccontextmanager
async def renewing(cluster: KubernetesCluster) -> AsyncIterator[list[object]]:
    """Renew the leases of a cluster. Yield the names of those that somebody else has ended."""
    ended = list[object]()

    async def note(what: object) -> None:
        ended.append(what)

    cluster.leases.ended = note
    async with cluster.leases:
        yield ended


class AutoscaledApi(LeasedApi):
    """Has a HorizontalPodAutoscaler for the Deployment."""

    async def list(self, kind: str, selector: str = "") -> list[Object]:
        if kind != "horizontalpodautoscalers":
            return await super().list(kind, selector)
        target = {"kind": "Deployment", "name": "product"}
        return [{"metadata": {"name": "product-scaler"}, "spec": {"scaleTargetRef": target}}]


def test_an_autoscaler_is_no_obstacle_if_the_number_is_right_already() -> None:
    async def test() -> None:
        api = AutoscaledApi()
        cluster = KubernetesCluster(cast(Api, api), {})
        await cluster.scale_for_now("product", 2)
        assert (api.patched, api.annotations) == (0, {})
        with pytest.raises(ClusterError, match="product-scaler decides how many replicas product has"):
            await cluster.scale_for_now("product", 3)

    run_in_virtual_time(test())


@pytest.mark.parametrize("by", ["kubectl", "meshmart scale"])
def test_a_scale_that_somebody_else_has_ended_is_told_and_its_lease_not_renewed(by: str) -> None:
    async def test() -> None:
        api = LeasedApi()
        cluster = KubernetesCluster(cast(Api, api), {})
        async with renewing(cluster) as ended:
            await cluster.scale_for_now("product", 3)
            await asyncio.sleep(RENEWAL + 1)
            assert (api.patched, ended) == (2, [])
            if by == "kubectl":
                api.by_hand(4)
            else:
                await KubernetesCluster(cast(Api, api), {}).scale("product", 4)
            patched = api.patched
            await asyncio.sleep(3 * RENEWAL)
            assert (api.patched, ended) == (patched, ["product"])

    run_in_virtual_time(test())


def test_a_number_that_somebody_sets_during_a_lease_outlasts_it() -> None:
    async def test() -> None:
        api = LeasedApi()
        cluster = KubernetesCluster(cast(Api, api), {})
        await cluster.scale_for_now("product", 3)
        api.by_hand(4)
        await cluster.restore("product")
        api.expire()
        assert await cluster.restore_expired() == []
        assert ((await api.get("", ""))["spec"]["replicas"], api.annotations) == (4, {})

    run_in_virtual_time(test())


def test_a_number_that_somebody_sets_while_a_lease_is_ended_is_kept() -> None:
    class ScaledMeanwhile(LeasedApi):
        """Somebody scales it right after it was read for its end."""

        version, ending = 7, False

        async def get(self, kind: str, name: str) -> Object:
            read = await super().get(kind, name)
            read["metadata"]["resourceVersion"] = str(self.version)
            return read

        async def patch(self, kind: str, name: str, body: Mapping[str, Any], part: str = "") -> Object:
            if self.ending:
                self.ending, self.version = False, self.version + 1
                self.by_hand(4)
            if body["metadata"].get("resourceVersion", str(self.version)) != str(self.version):
                raise ApiError(409, "the object has been modified")
            return await super().patch(kind, name, body, part)

    async def test() -> None:
        api = ScaledMeanwhile()
        cluster = KubernetesCluster(cast(Api, api), {})
        await cluster.scale_for_now("product", 3)
        api.ending = True
        await cluster.restore("product")
        assert (await api.get("", ""))["spec"]["replicas"] == 4

    run_in_virtual_time(test())


def test_a_lease_that_is_taken_while_its_end_is_restored_goes_on() -> None:
    class TakenMeanwhile(LeasedApi):
        """A tour takes a lease right after the list was read."""

        async def list(self, kind: str, selector: str = "") -> list[Object]:
            read = await super().list(kind, selector)
            if kind == "deployments":
                self.annotations = self.annotations | {leasing.UNTIL: f"{time.time() + LEASE:.0f}"}
            return read

    async def test() -> None:
        api = TakenMeanwhile()
        cluster = KubernetesCluster(cast(Api, api), {})
        await cluster.scale_for_now("product", 3)
        api.expire()
        assert await cluster.restore_expired() == []
        assert (await api.get("", ""))["spec"]["replicas"] == 3

    run_in_virtual_time(test())


async def test_one_command_plays_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("meshmart.kubernetes.cluster._ENDING", 0.0)
    first, second = (KubernetesCluster(cast(Api, FakeApi(2)), {}) for _ in range(2))
    async with first.alone():
        with pytest.raises(ClusterError, match="another command plays"):
            async with second.alone():
                pytest.fail("it plays beside the first")
    async with second.alone():
        pass


async def test_a_verb_that_restores_what_a_killed_command_disturbed_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ending, after = (KubernetesCluster(cast(Api, FakeApi(2)), {}) for _ in range(2))
    said = list[str]()

    async def plays() -> None:
        async with after.alone():
            said.append("the next plays")

    async with ending.alone():
        task = asyncio.create_task(plays())
        await asyncio.sleep(0)
        said.append("the killed one has restored")
    await task
    assert said == ["the killed one has restored", "the next plays"]


@pytest.mark.parametrize("how", ["its fault is cleared", "its pod is deleted"])
def test_a_pause_that_somebody_else_has_ended_is_not_set_again(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging: set[str] = set()
    asked = 0

    async def hang(member: object, service: str, replica: Replica, lease: float) -> None:
        nonlocal asked
        asked += 1
        hanging.add(replica.name)

    async def hangs(member: object, service: str, replica: Replica) -> bool:
        return replica.name in hanging

    async def member(self: KubernetesCluster) -> None:
        return None

    monkeypatch.setattr("meshmart.faults.hang", hang)
    monkeypatch.setattr("meshmart.faults.hangs", hangs)
    monkeypatch.setattr(KubernetesCluster, "_operator", member)

    async def test() -> None:
        api = LeasedApi()
        cluster = KubernetesCluster(cast(Api, api), {})
        async with renewing(cluster) as ended:
            await cluster.pause("product", 2)
            await asyncio.sleep(RENEWAL + 1)
            assert (asked, ended) == (2, [])
            if how == "its fault is cleared":
                hanging.clear()
            else:
                api.by_hand(1)
            await asyncio.sleep(3 * RENEWAL)
            assert (asked, ended) == (2, ["product/2"])

    run_in_virtual_time(test())


def test_a_ready_pod_that_is_leaving_is_not_one_of_the_replicas() -> None:
    class RollingOut(FakeApi):
        """After a rollout: an old pod still answers its probes when the new one has not been created yet."""

        async def list(self, kind: str, selector: str = "") -> list[Object]:
            pods = await super().list(kind, selector)
            if kind == "pods" and self.asked <= 2:
                return [*pods[:2], pod("product-of-before", deleted=True)]
            return pods

    api = RollingOut(2)
    scaled(api)
    assert api.asked == 3


async def test_the_log_of_a_replica_is_that_of_its_pods_container() -> None:
    cluster = KubernetesCluster(cast(Api, FakeApi(2)), {})
    assert await cluster.logs("product", 2, 50) == ["product of product-1", "last 50 lines"]
    with pytest.raises(ClusterError, match="there is no product/3"):
        await cluster.logs("product", 3, 50)
