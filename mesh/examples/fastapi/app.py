"""A web API whose handlers call the greeter."""

from grpcmesh import Mesh  # before anything that imports grpc

# isort: split
from fastapi import FastAPI

from grpcmesh.asgi import MeshMiddleware, lifespan
from hello_pb2 import HelloRequest
from hello_pb2_grpc import GreeterStub

mesh = Mesh.from_env("web")
app = FastAPI(lifespan=lifespan(mesh))  # enters the mesh when the server starts
app.add_middleware(MeshMiddleware, mesh=mesh)  # a trace and a metric for each HTTP request


@app.get("/coroutine/{name}")
async def coroutine(name: str) -> dict[str, str]:
    reply = await GreeterStub(mesh.channel("greeter")).SayHello(HelloRequest(name=name))
    return {"message": reply.message}


@app.get("/thread/{name}")
def thread(name: str) -> dict[str, str]:
    """Run in a thread by FastAPI, because it is no coroutine: so it uses the synchronous channel."""
    reply = GreeterStub(mesh.sync_channel("greeter")).SayHello(HelloRequest(name=name))
    return {"message": reply.message}
