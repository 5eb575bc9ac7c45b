"""A plaintext server, and channels of both kinds to it."""

from contextlib import AsyncExitStack
from typing import Any

import grpc

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import MeshConfig
from grpcmesh.resolver import StaticResolver
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from tests import ports

KINDS = ["grpc.aio", "mesh"]
METHODS = ["Ping", "Count", "Sum", "Echo"]


class Peer:
    """A plaintext server, and channels of one kind to it."""

    def __init__(self, kind: str, stack: AsyncExitStack) -> None:
        self.kind, self.stack = kind, stack
        self.server = PingServer(None, address=ports.address())

    async def open(self, *interceptors: Any, **options: Any) -> grpc.aio.Channel:
        """Open a channel. `options` are channel arguments with `__` for `.`."""
        arguments = [(name.replace("__", "."), value) for name, value in options.items()]
        channel: grpc.aio.Channel
        if self.kind == "mesh":
            channel = MeshChannel(
                "ping",
                MeshConfig("client"),
                identity=None,
                resolver=StaticResolver([self.server.endpoint]),
                options=arguments,
                interceptors=interceptors,
            )
        else:
            arguments.append(("grpc.use_local_subchannel_pool", 1))
            channel = grpc.aio.insecure_channel(self.server.endpoint, arguments, interceptors=interceptors)
        self.stack.push_async_callback(channel.close)
        return channel


def begin(stub: Any, method: str, request: PingRequest, **options: Any) -> Any:
    sent = request if method in ("Ping", "Count") else iter([request])
    return getattr(stub, method)(sent, **options)


async def answers(call: Any) -> list[Any]:
    return [m async for m in call] if hasattr(call, "__aiter__") else [await call]
