"""The embedded cluster, for the examination of a shop."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpcmesh.commands.doctor.findings import Finding
from local.catalog import SHOP
from local.client import ControlClient
from local.environment import MESH_VARIABLES
from meshmart.doctor.examination import Output, Survey, Workload


class EmbeddedShop:
    """Runs programs with the environment of replicas, on this machine.

    Args:
        state_dir: The state directory of the cluster.
        environ: The environment of this process. Its variables of the mesh are not passed on.
    """

    def __init__(self, state_dir: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._client = ControlClient(state_dir)
        self._environ = {k: v for k, v in environ.items() if not k.startswith(MESH_VARIABLES)}

    async def survey(self) -> Survey:
        services: dict[str, Any] = (await self._client.request("status"))["services"]
        replicas = [(service, r) for service, about in services.items() for r in about["replicas"]]
        return Survey(
            [_workload(service, replica) for service, replica in replicas],
            [_down(service, replica) for service, replica in replicas if not replica["ready"]],
        )

    async def run(self, workload: Workload, arguments: Sequence[str]) -> Output:
        own = await self._client.request("environment", service=workload.service, replica=workload.number)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=self._environ | own, stdout=pipe, stderr=pipe
        )
        try:
            out, err = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert process.returncode is not None
        return Output(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def _workload(service: str, replica: Mapping[str, Any]) -> Workload:
    serves = service not in SHOP or not SHOP[service].web
    return Workload(f"{service}/{replica['id']}", service, replica["id"], serves)


def _down(service: str, replica: Mapping[str, Any]) -> Finding:
    name, pid, times = f"{service}/{replica['id']}", replica["pid"], replica["restarts"]
    state = f"process {pid} is not ready" if pid else "no process of it runs, it waits for its restart"
    return Finding.of(
        "replica_not_ready",
        name,
        f"{state} (restarts: {times}); it gets no calls",
        f"`meshmart logs {name}` tells why; if it has just started, check again",
    )
