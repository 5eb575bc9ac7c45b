"""A synchronous program that forks; it prints what happens in the children. For tests of forking.

`inherit`: the mesh has made calls before the fork, and the child tries all that it may try. `prefork`: the
mesh and the stub are made before the fork, as by gunicorn or Celery, and the children make the first calls.
"""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from grpcmesh import Mesh
from grpcmesh.client.sync.channel import SyncChannel
from grpcmesh.config import AdminConfig, MeshConfig
from grpcmesh.resolver import StaticResolver
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub


def channel_to(endpoint: str) -> SyncChannel:
    return SyncChannel("ping", MeshConfig("client"), identity=None, resolver=StaticResolver([endpoint]))


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child, and return its exit status. The child ends as any Python program does."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        work()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def attempt(name: str, action: Callable[[], Any]) -> None:
    try:
        action()
        print(name, "worked", flush=True)
    except BaseException as e:
        print(name, type(e).__name__, flush=True)


def inherit(endpoint: str) -> None:
    channel = channel_to(endpoint)
    stub: Any = PingServiceStub(channel)
    stub.Ping(PingRequest(), timeout=60)
    stream, future = stub.Count(PingRequest()), stub.Ping.future(PingRequest(delay=30))
    next(stream)
    threads = [threading.Thread(target=_busy, args=(stub,), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()

    def child() -> None:
        attempt("call", lambda: stub.Ping(PingRequest()))
        attempt("future", lambda: stub.Ping.future(PingRequest()))
        attempt("stream", lambda: stub.Count(PingRequest()))
        attempt("new stub", lambda: PingServiceStub(channel))
        attempt("running stream", lambda: next(stream))
        attempt("running future", future.result)
        attempt("code", future.code)
        attempt("initial metadata", stream.initial_metadata)
        attempt("close", channel.close)
        attempt("subscribe", lambda: channel.subscribe(print))
        attempt("new channel", lambda: PingServiceStub(channel_to(endpoint)).Ping(PingRequest()))

    print("status", in_child(child))
    stub.Ping(PingRequest(), timeout=60)
    print("parent worked")


def _busy(stub: Any) -> None:
    while True:
        stub.Ping(PingRequest(), timeout=60)


def prefork(endpoint: str) -> None:
    channel = channel_to(endpoint)
    stub: Any = PingServiceStub(channel)

    def child() -> None:
        for _ in range(10):
            stub.Ping(PingRequest(), timeout=60)
        print("child worked", len(list(stub.Count(PingRequest(count=3)))), flush=True)

    print("status", *(in_child(child) for _ in range(4)))
    stub.Ping(PingRequest(), timeout=60)
    print("parent worked")


def unclosed(endpoint: str) -> None:
    """Make calls and leave the channel open: the process has to exit."""
    stub: Any = PingServiceStub(channel_to(endpoint))
    stub.Ping(PingRequest(), timeout=60)
    stream = stub.Count(PingRequest())
    next(stream)
    print("worked")


def unclosed_mesh(endpoint: str) -> None:
    """Make calls and leave the mesh open: when the process exits, it closes all by itself."""
    mesh = Mesh(MeshConfig("client", plaintext=True, admin=AdminConfig(address="")))
    stub: Any = PingServiceStub(mesh.sync_channel("ping", resolver=StaticResolver([endpoint])))
    stub.Ping(PingRequest(), timeout=60)
    print("worked")


if __name__ == "__main__":
    ways = {"inherit": inherit, "prefork": prefork, "unclosed": unclosed, "unclosed mesh": unclosed_mesh}
    ways[sys.argv[1]](sys.argv[2])
