"""A client of the mesh as a process: one call to the address in its arguments, and how it ended, as JSON.

python tls_client.py CERTIFICATES 127.0.0.1:50051
"""

import asyncio
import json
import sys
from pathlib import Path

import grpc

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import IdentityConfig, MeshConfig
from grpcmesh.identity import IdentityError, IdentityStore
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver


async def main(directory: str, address: str) -> None:
    identity = IdentityStore(IdentityConfig(Path(directory)))
    try:
        identity.load()
    except IdentityError as e:
        print(json.dumps(["IdentityError", str(e)]))
        return
    resolver = FakeResolver(address)
    async with MeshChannel("ping", MeshConfig("client"), identity=identity, resolver=resolver) as channel:
        try:
            await PingServiceStub(channel).Ping(PingRequest(text="payload"), timeout=20)
        except grpc.aio.AioRpcError as e:
            print(json.dumps([e.code().name, e.details()]))
        else:
            print(json.dumps(["OK", ""]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
