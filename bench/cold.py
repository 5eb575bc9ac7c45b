"""Measures what the library's own Python costs per call when the caches of the processor are warm and cold.

    python bench/cold.py [--rounds 200] [--kib 0 256 1024 4096]

Everything below the library is replaced by a stub: the native call of a client answers at once, and the
server's context is a few plain values. So the figure has nothing of gRPC, TLS or the kernel in it. In a real
call these run in between, and take the library's code and data out of the caches; here a buffer of `--kib`
KiB is copied between two calls, which has the same effect. A figure is the first quartile over `--rounds`
calls, the least of five, because the machine may be busy with other work.
"""

import argparse
import asyncio
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import overhead  # imports grpcmesh before gRPC, which reads its environment once

# isort: split
import grpc
import uvloop
from ecommerce.product_pb2_grpc import ProductServiceStub

from grpcmesh.authz import PolicyStore
from grpcmesh.call import Kind, Method
from grpcmesh.client.channel import MeshChannel
from grpcmesh.client.connection import Connection
from grpcmesh.resolver import Address, StaticResolver
from grpcmesh.server.server import server_layers
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Running
from grpcmesh.server.wrapping import wrap
from grpcmesh.telemetry import Telemetry

METHOD = "ecommerce.ProductService/GetProduct"
ANSWER = overhead.product_pb2.GetProductResponse(product=overhead.PRODUCT).SerializeToString()
TOKEN = "eyJhbGciOiJFZERTQSJ9." + "a" * 200


class Answered:
    """A native call that has its answer."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    def done(self) -> bool:
        return True

    def __await__(self) -> Generator[Any, None, bytes]:
        yield from ()
        return ANSWER


class Ready:
    """A native channel that is connected, and whose calls are answered at once."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, state: grpc.ChannelConnectivity) -> None:
        await asyncio.Event().wait()

    def unary_unary(self, path: str) -> Callable[..., Answered]:
        return lambda request, timeout, metadata: Answered()

    unary_stream = stream_unary = stream_stream = unary_unary  # not called

    async def close(self) -> None:
        pass


class Served:
    """The context of a call that a client of the mesh has made."""

    def __init__(self) -> None:
        self._trailing: Any = ()

    def time_remaining(self) -> float:
        return 4.999

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        return (("traceparent", parent), ("mesh-timeout-ms", "5000"), ("user-agent", "grpc"))

    def set_trailing_metadata(self, trailing: Any) -> None:
        self._trailing = trailing

    def trailing_metadata(self) -> Any:
        return self._trailing

    def code(self) -> int:
        return 0

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5000"

    def done(self) -> bool:
        return False


async def client(directory: Path, stack: AsyncExitStack) -> Callable[[], Awaitable[Any]]:
    """Return a function that makes one call through the client's stack."""
    config = dataclasses.replace(
        overhead.config(directory, "storefront"), plaintext=True, health=overhead.HealthConfig(watch=False)
    )
    telemetry = Telemetry(config)
    await telemetry.start()
    stack.push_async_callback(telemetry.aclose)
    Connection._open = lambda self, *rest: Ready()  # type: ignore[assignment,return-value,method-assign]
    resolver = StaticResolver([Address("127.0.0.1", 1)])
    channel = MeshChannel("product", config, identity=None, resolver=resolver, telemetry=telemetry)
    await channel.start()
    stack.push_async_callback(channel.close)
    get, metadata = ProductServiceStub(channel).GetProduct, (("authorization", f"Bearer {TOKEN}"),)
    return lambda: get(overhead.REQUEST, timeout=5, metadata=metadata)


async def server(directory: Path, stack: AsyncExitStack) -> Callable[[], Awaitable[Any]]:
    """Return a function that serves one call through the server's stack.

    It is plaintext, so the layers for identity, policy and user are missing.
    """
    config = dataclasses.replace(
        overhead.config(directory, "product", "all"), plaintext=True, authz=overhead.AuthzConfig()
    )
    telemetry = Telemetry(config)
    await telemetry.start()
    stack.push_async_callback(telemetry.aclose)
    layers = server_layers(config, telemetry, PolicyStore(config.authz), None)
    method = Method.parse(f"/{METHOD}", Kind.UNARY)
    products = overhead.Products()
    handler = grpc.unary_unary_rpc_method_handler(
        products.GetProduct,
        overhead.product_pb2.GetProductRequest.FromString,
        overhead.product_pb2.GetProductResponse.SerializeToString,
    )
    run: Any = wrap(handler, method, Stack(layers, "product-1"), Running()).unary_unary
    raw = overhead.REQUEST.SerializeToString()
    return lambda: run(raw, Served())


async def cost(call: Callable[[], Awaitable[Any]], kib: int, rounds: int) -> float:
    """Return the µs of one call, with a copy of `kib` KiB before each."""
    buffer, found = bytearray(kib * 1024), []
    for _ in range(rounds):
        bytes(buffer)
        before = time.perf_counter_ns()
        await call()
        found.append(time.perf_counter_ns() - before)
    return statistics.quantiles(found, n=4)[0] / 1000


async def measure(args: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        overhead.prepare(directory)
        for name, make in (("client", client), ("server", server)):
            call = await make(directory, stack)
            for _ in range(1000):
                await call()
            figures = {kib: [await cost(call, kib, args.rounds) for _ in range(5)] for kib in args.kib}
            row = "  ".join(f"{kib} KiB: {min(of):.1f}" for kib, of in figures.items())
            print(f"{name} Python, µs per call after a copy of  {row}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--kib", type=int, nargs="+", default=[0, 256, 1024, 4096])
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
