"""A service of plain grpc.aio: it passes calls on to the greeter."""

import asyncio
from typing import Any

from grpcmesh import Mesh
from hello_pb2 import HelloReply, HelloRequest
from hello_pb2_grpc import GreeterServicer, GreeterStub, add_GreeterServicer_to_server


class Relay(GreeterServicer):
    def __init__(self, greeter: GreeterStub) -> None:
        self._greeter = greeter

    async def SayHello(self, request: HelloRequest, context: Any) -> HelloReply:
        reply = await self._greeter.SayHello(request)
        return HelloReply(message=f"{reply.message} (relayed)")


async def main() -> None:
    async with Mesh.from_env("relay") as mesh:
        server = mesh.server()
        add_GreeterServicer_to_server(Relay(GreeterStub(mesh.channel("greeter"))), server)
        await mesh.serve(server)


asyncio.run(main())
