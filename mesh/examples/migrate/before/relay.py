"""A service of plain grpc.aio: it passes calls on to the greeter."""

import asyncio
import os
from typing import Any

import grpc

from hello_pb2 import HelloReply, HelloRequest
from hello_pb2_grpc import GreeterServicer, GreeterStub, add_GreeterServicer_to_server


class Relay(GreeterServicer):
    def __init__(self, greeter: GreeterStub) -> None:
        self._greeter = greeter

    async def SayHello(self, request: HelloRequest, context: Any) -> HelloReply:
        reply = await self._greeter.SayHello(request)
        return HelloReply(message=f"{reply.message} (relayed)")


async def main() -> None:
    async with grpc.aio.insecure_channel(os.environ["GREETER"]) as channel:
        server = grpc.aio.server()
        add_GreeterServicer_to_server(Relay(GreeterStub(channel)), server)
        server.add_insecure_port(os.environ["ADDRESS"])
        await server.start()
        await server.wait_for_termination()


asyncio.run(main())
