"""What Python's gRPC gives by itself: the client of every other demo, for `meshmart tour --plain`.

mTLS with the same certificates and the same DNS, but grpc's own name resolution, its default
`pick_first`, certificates read once, and no retries beyond its transparent ones.
"""

from pathlib import Path

import grpc
from cryptography import x509


class PlainChannels:
    """Makes one native channel a target.

    Args:
        dns: `host:port` of the cluster's DNS server.
        directory: The operator's certificates.
        namespace: Of the services' names.
    """

    def __init__(self, dns: str, directory: Path, namespace: str = "meshmart") -> None:
        self._dns, self._namespace = dns, namespace
        self._credentials = grpc.ssl_channel_credentials(
            *((directory / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
        )
        #: Of the certificate read at the start: it stays the same whatever lies on the disk later.
        self.serial = x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes()).serial_number
        self._channels: dict[str, grpc.aio.Channel] = {}

    def __call__(self, target: str) -> grpc.aio.Channel:
        if target not in self._channels:
            name = f"{target}.{self._namespace}.svc.cluster.local"
            uri = f"dns://{self._dns}/{name}:50051"
            options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
            self._channels[target] = grpc.aio.secure_channel(uri, self._credentials, options)
        return self._channels[target]

    async def aclose(self) -> None:
        """Closes them all."""
        for channel in self._channels.values():
            await channel.close()
