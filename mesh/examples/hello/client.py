"""Says hello to the greeter."""

import asyncio

from grpcmesh import Mesh  # before anything that imports grpc

# isort: split
from hello_pb2 import HelloRequest
from hello_pb2_grpc import GreeterStub


async def main() -> None:
    async with Mesh.from_env("caller") as mesh:
        reply = await GreeterStub(mesh.channel("greeter")).SayHello(HelloRequest(name="mesh"))
    print(reply.message)


asyncio.run(main())
