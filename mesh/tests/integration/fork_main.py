"""A process that starts a mesh and forks; it prints what the child meets. For tests of forking."""

import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import MeshConfig
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.serverkit import Served, serve


def fresh() -> MeshChannel:
    return MeshChannel("ping", MeshConfig("client"), identity=None, resolver=FakeResolver())


async def uses(served: Served, channel: MeshChannel, stub: PingServiceStub) -> None:
    """Try everything that a child may try, each within a second, and print how it ended."""
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        "call": lambda: stub.Ping(PingRequest()),
        "stream": lambda: stub.Count(PingRequest()).read(),
        "new stub": lambda: PingServiceStub(channel).Ping(PingRequest()),
        "ready": channel.channel_ready,
        "close": channel.close,
        "server start": served.server.start,
        "server stop": lambda: served.server.stop(0),
        "server drain": served.server.drain,
        "server wait": served.server.wait_for_termination,
        "new channel": lambda: fresh().start(),
    }
    for name, attempt in attempts.items():
        try:
            await asyncio.wait_for(attempt(), 1)
            print(name, "worked", flush=True)
        except BaseException as e:
            print(name, type(e).__name__, flush=True)


async def main(how: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with serve(Path(directory)) as served:
            resolver = FakeResolver()
            resolver.set(served.endpoint)
            identity = served.identity
            served.write_policy(
                served.directory.joinpath("policy.toml").read_text().replace("client", "ping")
            )
            served.policy.poll()
            async with MeshChannel(
                "ping", MeshConfig("ping"), identity=identity, resolver=resolver
            ) as channel:
                stub = PingServiceStub(channel)
                await stub.Ping(PingRequest(), timeout=20)

                def child() -> None:
                    asyncio.run(uses(served, channel, stub))

                if how == "fork":
                    pid = os.fork()
                    if not pid:
                        # The parent's loop is not the child's: asyncio sees that by the process id.
                        child()
                        os._exit(0)
                    await asyncio.to_thread(os.waitpid, pid, 0)
                else:
                    process = multiprocessing.get_context("fork").Process(target=child)
                    process.start()
                    await asyncio.to_thread(process.join)
                await stub.Ping(PingRequest(), timeout=20)
                print("parent worked", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
