"""A workload of the tests: serves pings until SIGTERM, and pings another workload until SIGUSR1.

    python -m tests.spire.workload NAME PEER

Prints `first`, once a call has succeeded; each failure; and at SIGUSR1 the numbers of calls and of failures.
"""

import asyncio
import signal
import sys

from grpcmesh import Mesh  # first: it sets what gRPC reads when it is imported

# isort: split
import grpc

from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server

#: Seconds between two calls, and those that a call may take.
PAUSE, TIMEOUT = 0.02, 60.0


class Caller:
    """Calls a peer, and counts."""

    def __init__(self, mesh: Mesh, peer: str) -> None:
        self._stub = PingServiceStub(mesh.channel(peer))
        self.calls = self.failed = 0

    async def run(self) -> None:
        """Wait for the peer, then call it until SIGUSR1."""
        enough = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, enough.set)
        await self._stub.Ping(PingRequest(), timeout=10 * TIMEOUT, wait_for_ready=True)
        print("first", flush=True)
        while not enough.is_set():
            await self._call()
            await asyncio.sleep(PAUSE)
        print("calls", self.calls, "failed", self.failed, flush=True)

    async def _call(self) -> None:
        self.calls += 1
        try:
            await self._stub.Ping(PingRequest(), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            self.failed += 1
            print("failed", e.code().name, e.details(), flush=True)


async def main(name: str, peer: str) -> None:
    async with Mesh.from_env(name) as mesh:
        server = mesh.server()
        add_PingServiceServicer_to_server(PingServicer(name), server)
        mesh.spawn(Caller(mesh, peer).run(), "caller")
        await mesh.serve(server, capture_logging=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
