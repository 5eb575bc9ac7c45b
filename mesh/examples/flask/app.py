"""A web page that calls the greeter, for gunicorn's workers."""

from grpcmesh import Mesh  # before anything that imports grpc

# isort: split
import os

from flask import Flask

from hello_pb2 import HelloRequest
from hello_pb2_grpc import GreeterStub

mesh = Mesh.from_env("web")  # starts in each worker, with the first call there
greeter = GreeterStub(mesh.sync_channel("greeter"))
app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name: str) -> dict[str, str | int]:
    return {"message": greeter.SayHello(HelloRequest(name=name)).message, "worker": os.getpid()}
