"""The toolbox's process: keeps a pod of the operator's workload there for `meshmart … --context` to work in.

It does nothing itself but answer the kubelet's probes; `python -m meshmart …` is run beside it.
"""

import asyncio
import os
import signal

from mesh.config import MeshConfig
from mesh.health.servicer import HealthServicer
from mesh.ports import HealthPort


async def _serve() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health = HealthServicer()
    health.set_all(True)
    port = HealthPort(MeshConfig.from_env(os.environ, service="client").health.address, health)
    await port.start()
    await stop.wait()
    await port.stop()


if __name__ == "__main__":
    asyncio.run(_serve())
