"""The greeter, a server of the mesh."""

import asyncio
from typing import Any

from grpcmesh import Mesh  # before anything that imports grpc

# isort: split
from hello_pb2 import HelloReply, HelloRequest
from hello_pb2_grpc import GreeterServicer, add_GreeterServicer_to_server


class Greeter(GreeterServicer):
    async def SayHello(self, request: HelloRequest, context: Any) -> HelloReply:
        return HelloReply(message=f"Hello, {request.name}!")


async def main() -> None:
    async with Mesh.from_env("greeter") as mesh:
        server = mesh.server()
        add_GreeterServicer_to_server(Greeter(), server)
        await mesh.serve(server)


asyncio.run(main())
