"""Celery tasks that call the greeter."""

from grpcmesh import Mesh  # before anything that imports grpc

# isort: split
import os
from pathlib import Path

from celery import Celery

from hello_pb2 import HelloRequest
from hello_pb2_grpc import GreeterStub

mesh = Mesh.from_env("worker")  # starts in each process of the pool, with the first call there
greeter = GreeterStub(mesh.sync_channel("greeter"))

# A broker of files, for an example that needs no server. Use Redis or RabbitMQ.
queue = Path(os.environ.get("QUEUE_DIRECTORY", "queue")).absolute()
for name in ("messages", "results", "control"):
    (queue / name).mkdir(parents=True, exist_ok=True)
app = Celery("tasks", broker="filesystem://", backend=(queue / "results").as_uri())
app.conf.broker_transport_options = {
    "data_folder_in": queue / "messages",
    "data_folder_out": queue / "messages",
    "control_folder": queue / "control",
}


@app.task
def hello(name: str) -> dict[str, str | int]:
    return {"message": greeter.SayHello(HelloRequest(name=name)).message, "process": os.getpid()}
