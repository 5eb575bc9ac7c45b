"""A release on Kubernetes, for the examination of a shop: programs run in its pods, by exec."""

import asyncio
from collections.abc import Sequence

import aiohttp

from grpcmesh.commands.doctor.findings import Finding
from local.errors import ClusterError
from meshmart.doctor.examination import Output, Survey, Workload
from meshmart.kubernetes import conditions, objects
from meshmart.kubernetes.api import Api, Object
from meshmart.kubernetes.bridge import STATUS, STDERR, STDOUT, exit_status

#: The most bytes that a program may print.
_LARGEST = 4 * 1024 * 1024


class KubernetesShop:
    """A release of the chart.

    Args:
        api: The API of its namespace.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._pods: dict[str, Object] = {}

    async def survey(self) -> Survey:
        deployments, pods = await asyncio.gather(
            self._api.list("deployments", objects.SERVICES), self._api.list("pods", objects.SERVICES)
        )
        if not deployments:
            raise ClusterError(f"there is no release of meshmart in namespace {self._api.namespace}")
        stay = [pod for pod in pods if not objects.leaving(pod)]
        self._pods = {objects.name(pod): pod for pod in stay}
        found: list[Finding] = [*conditions.missing(deployments, stay), *conditions.not_ready(stay)]
        return Survey([_workload(pod) for pod in stay if conditions.runs(pod)], found)

    async def run(self, workload: Workload, arguments: Sequence[str]) -> Output:
        container = objects.container(self._pods[workload.name])
        async with self._api.exec(workload.name, container, ["python", *arguments]) as socket:
            return await _output(socket)


def _workload(pod: Object) -> Workload:
    return Workload(objects.name(pod), objects.service_of(pod), 0, serves=bool(objects.port(pod, "grpc")))


async def _output(socket: aiohttp.ClientWebSocketResponse) -> Output:
    """Return what the program prints until it ends.

    Raises:
        ClusterError: it prints too much, could not be run, or the connection broke.
    """
    printed = {STDOUT: bytearray(), STDERR: bytearray()}
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == STATUS:
            texts = (printed[c].decode(errors="replace") for c in (STDOUT, STDERR))
            return Output(exit_status(data, "the pod"), *texts)
        printed.get(channel, bytearray()).extend(data)
        if sum(map(len, printed.values())) > _LARGEST:
            raise ClusterError(f"it printed more than {_LARGEST} bytes")
    raise ClusterError("the connection to the pod broke before the check had ended")
