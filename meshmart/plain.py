"""The client that Python's gRPC provides by itself, for `meshmart tour --plain`.

It uses mTLS with the same certificates and the same DNS, but grpc's own name resolution, its default
`pick_first`, certificates read once, and no retries beyond its transparent ones.
"""

import grpc
from cryptography import x509

from grpcmesh.config import MeshConfig


class PlainChannels:
    """Creates one native channel per target.

    Args:
        config: The settings of the membership that this replaces: DNS server, names, certificates.
    """

    def __init__(self, config: MeshConfig) -> None:
        self._config = config
        directory = config.identity.directory
        self._credentials = grpc.ssl_channel_credentials(
            *((directory / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
        )
        #: The serial of the certificate read at the start. It does not change when the files do.
        self.serial = x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes()).serial_number
        self._channels: dict[str, grpc.aio.Channel] = {}

    def __call__(self, target: str) -> grpc.aio.Channel:
        if target not in self._channels:
            resolver = self._config.resolver
            name = self._config.dns_name(target).rstrip(".")
            uri = f"dns://{resolver.nameserver}/{name}:{resolver.port}"
            options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
            self._channels[target] = grpc.aio.secure_channel(uri, self._credentials, options)
        return self._channels[target]

    async def aclose(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            await channel.close()
