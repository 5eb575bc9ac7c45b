"""A ping service as a program of its own would be, on `Mesh`; MESH_MODE chooses what happens."""

import asyncio
import os

from grpcmesh import Mesh  # first: it sets what gRPC reads when it is imported

# isort: split
from ping_main import fail_soon, resource  # beside this file

from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2_grpc import add_PingServiceServicer_to_server


async def main() -> None:
    mode = os.environ.get("PING_MODE", "")
    async with Mesh.from_env("ping") as mesh:
        await mesh.enter(resource("first"))
        await mesh.enter(resource("second"))
        server = mesh.server()
        add_PingServiceServicer_to_server(PingServicer(mesh.config.replica), server)
        if mode == "failing":
            mesh.spawn(fail_soon(), "failing")
        if mode == "stopping":
            asyncio.get_running_loop().call_later(0.2, mesh.stop)
        if mode == "broken":
            raise RuntimeError("the body has failed")
        await mesh.serve(server)
    print("after", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
