"""A plaintext server in a thread, and synchronous channels of both kinds to it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import grpc

from grpcmesh.client.sync.channel import SyncChannel
from grpcmesh.client.sync.host import Host
from grpcmesh.config import MeshConfig
from grpcmesh.resolver import StaticResolver
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from tests import ports

KINDS = ["grpc", "mesh"]
METHODS = ["Ping", "Count", "Sum", "Echo"]


class Peer:
    """A plaintext server whose loop runs in a thread, and channels of one kind to it."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        self.kind, self.stack = kind, stack
        self.host = Host()
        self.host.start()
        stack.callback(self.host.stop)
        self.server = self.host.run(_make())

    def start(self) -> None:
        self.host.run(self.server.start())

    def stop(self) -> None:
        self.host.run(self.server.stop())

    def open(self, **options: Any) -> grpc.Channel:
        """Open a channel. `options` are channel arguments with `__` for `.`."""
        arguments = [(name.replace("__", "."), value) for name, value in options.items()]
        channel: grpc.Channel
        if self.kind == "mesh":
            resolver = StaticResolver([self.server.endpoint])
            channel = SyncChannel(
                "ping", MeshConfig("client"), identity=None, resolver=resolver, options=arguments
            )
        else:
            arguments.append(("grpc.use_local_subchannel_pool", 1))
            channel = grpc.insecure_channel(self.server.endpoint, arguments)
        self.stack.callback(channel.close)
        return channel


async def _make() -> PingServer:
    return PingServer(None, address=ports.address())


def begin(stub: Any, method: str, request: PingRequest, **options: Any) -> Any:
    """Begin a call of any kind, and return it without waiting."""
    sent = request if method in ("Ping", "Count") else iter([request])
    call = getattr(stub, method)
    return (call.future if method in ("Ping", "Sum") else call)(sent, **options)


def answers(call: Any, method: str = "Ping") -> list[Any]:
    return list(call) if method in ("Count", "Echo") else [call.result()]


def until(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"still not true after {within} s"
        time.sleep(0.005)
