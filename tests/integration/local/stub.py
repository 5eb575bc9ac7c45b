"""A service that is nothing but its ports: health in plaintext, mTLS, and a page; for tests of the cluster.

Files in MESHMART_DATA_DIR tell it what to do: `crash` (end at once), `sick` (NOT_SERVING).
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

DRAIN = 0.2


class Stub:
    def __init__(self) -> None:
        self.data = Path(os.environ["MESHMART_DATA_DIR"])
        self.certificates = Path(os.environ["MESH_IDENTITY_DIRECTORY"])
        self.stop = asyncio.Event()

    async def check(self, request: bytes, context: object) -> bytes:
        del request, context
        bad = self.stop.is_set() or (self.data / "sick").exists()
        status = health_pb2.HealthCheckResponse.NOT_SERVING if bad else health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse(status=status).SerializeToString()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = [((self.certificates / "tls.key").read_bytes(), (self.certificates / "tls.crt").read_bytes())]
        return grpc.ssl_server_certificate_configuration(pair, (self.certificates / "ca.crt").read_bytes())

    async def page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = os.environ["MESH_REPLICA"].encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def run(self) -> None:
        if (self.data / "crash").exists():
            sys.exit("told to crash")
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        options = [("grpc.so_reuseport", 0)]
        health = grpc.aio.server(options=options)
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self.check)
        handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
        health.add_generic_rpc_handlers((handler,))
        health.add_insecure_port(os.environ["MESH_HEALTH_ADDRESS"])
        await health.start()
        if address := os.environ.get("MESHMART_HTTP_ADDRESS"):
            host, _, port = address.rpartition(":")
            await asyncio.start_server(self.page, host, int(port))
        else:
            mesh = grpc.aio.server(options=options)
            mesh.add_secure_port(
                os.environ["MESH_ADDRESS"],
                grpc.dynamic_ssl_server_credentials(
                    self.configuration(), self.configuration, require_client_authentication=True
                ),
            )
            await mesh.start()
        sys.stdout.write(f"{os.environ['MESH_REPLICA']} is up\n")
        await self.stop.wait()
        await asyncio.sleep(DRAIN)
        await health.stop(None)


if __name__ == "__main__":
    asyncio.run(Stub().run())
