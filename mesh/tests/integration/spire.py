"""A SPIFFE Workload API of our own for tests, on a Unix socket, as the public proto describes it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization

from tests.integration import spiffe_workload_pb2 as _pb
from tests.integration.spiffe_workload_pb2_grpc import (
    SpiffeWorkloadAPIServicer,
    add_SpiffeWorkloadAPIServicer_to_server,
)
from tests.pki import Authority, Pair

pb: Any = _pb
_DER = serialization.Encoding.DER


def svid(shown: Pair, authority: Authority, uri: str) -> Any:
    """Return an identity as the API sends it."""
    certificates = (shown.certificate, *shown.chain)
    key = shown.key.private_bytes(_DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pb.X509SVID(
        spiffe_id=uri,
        x509_svid=b"".join(c.public_bytes(_DER) for c in certificates),
        x509_svid_key=key,
        bundle=authority.certificate.public_bytes(_DER),
    )


class Agent(SpiffeWorkloadAPIServicer):
    """The API. `send` changes what all streams get; `fail` ends them, and refuses new ones until then.

    Args:
        directory: For the socket.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = f"unix://{directory}/agent.sock"
        self.response: Any = None
        self.refusal: grpc.StatusCode | None = None
        #: The streams that were opened, with their metadata.
        self.opened: list[dict[str, Any]] = []
        self._change = asyncio.Event()
        self._server = grpc.aio.server()
        add_SpiffeWorkloadAPIServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.socket)

    def send(self, *svids: Any, federated: dict[str, Authority | bytes] | None = None) -> None:
        bundles = {
            f"spiffe://{domain}": given if isinstance(given, bytes) else given.certificate.public_bytes(_DER)
            for domain, given in (federated or {}).items()
        }
        self.response = pb.X509SVIDResponse(svids=svids, federated_bundles=bundles)
        self.refusal = None
        self._turn()

    def fail(self, code: grpc.StatusCode) -> None:
        self.refusal = code
        self._turn()

    async def FetchX509SVID(self, request: Any, context: Any) -> AsyncIterator[Any]:
        metadata = dict(context.invocation_metadata())
        self.opened.append(metadata)
        if metadata.get("workload.spiffe.io") != "true":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        while True:
            change = self._change
            if self.refusal is not None:
                await context.abort(self.refusal, "no identity issued")
            if self.response is not None:
                yield self.response
            await change.wait()

    def _turn(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


@contextlib.asynccontextmanager
async def agent(directory: Path) -> AsyncIterator[Agent]:
    """Run the API."""
    made = Agent(directory)
    await made._server.start()
    try:
        yield made
    finally:
        await made._server.stop(0)
