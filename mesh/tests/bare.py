"""A server and a client with nothing installed but the wheel: run by tools/test-wheel, without the extras.

Prints what is served and what was said to be missing; exits with 0 if the hello came back over mutual TLS.
"""

import os
import tempfile
from pathlib import Path

from grpcmesh import App, run  # first: it sets what gRPC reads when it is imported

# isort: split

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from grpcmesh.testing.resolver import FakeResolver

POLICY = """
[[allow]]
from = ["ping"]
methods = ["mesh.testing.PingService/*"]
[users]
"mesh.testing.PingService/*" = "anyone"
"""


async def hello(app: App) -> None:
    """Call the own server once it serves, and end the process."""
    async for status in app.health.follow(""):
        if status.status == 1:
            break
    resolver = FakeResolver()
    resolver.set(f"127.0.0.1:{app.server.port}")
    channel = app.channel("ping", resolver=resolver)
    answer = await PingServiceStub(channel).Ping(PingRequest(text="hello"), timeout=30)
    print(answer.text, answer.workload, flush=True)
    metrics = [metric.name for metric in app.telemetry.registry.collect()]
    print("metrics", "grpc_server_handled" in metrics, "mesh_tls_handshakes" in metrics, flush=True)
    os.kill(os.getpid(), 15)


async def build(app: App) -> None:
    add_PingServiceServicer_to_server(PingServicer("ping-1"), app.server)
    app.spawn(hello(app), "hello")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_atomically(directory / "certs", CertificateAuthority().issue("ping").files())
        (directory / "policy.toml").write_text(POLICY)
        environ = {
            "MESH_REPLICA": "ping-1",
            "MESH_ADDRESS": "127.0.0.1:0",
            "MESH_HEALTH_ADDRESS": "127.0.0.1:0",
            "MESH_IDENTITY_DIRECTORY": str(directory / "certs"),
            "MESH_AUTHZ_POLICY_FILE": str(directory / "policy.toml"),
            "MESH_DRAIN_DELAY": "0",
            "MESH_TELEMETRY_OTLP_ENDPOINT": "http://127.0.0.1:4317",
        }
        run("ping", build, environ)


if __name__ == "__main__":
    main()
