"""`diagnose` against real gRPC peers: what it lets pass is accepted in both roles, what it refuses is not."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from grpcmesh.identity import Credentials, IdentityError, Material
from tests.identity_cases import CASES, ROOT, Case, over

#: The most seconds of one call over a new connection. A refused handshake is reported at once.
TIMEOUT = 20


@contextlib.asynccontextmanager
async def server(files: Material) -> AsyncIterator[int]:
    """Run a gRPC server that demands client certificates. Yield its port, or 0 if it cannot listen."""
    served = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(_answer)
    served.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    credentials = grpc.ssl_server_credentials([(files.private_key, files.cert_chain)], files.ca, True)
    try:
        port = served.add_secure_port("127.0.0.1:0", credentials)
    except RuntimeError:
        yield 0
        return
    await served.start()
    try:
        yield port
    finally:
        await served.stop(0)


async def _answer(request: bytes, context: Any) -> bytes:
    return request


async def call(port: int, files: Material) -> bool:
    """Return whether a call with this identity succeeds."""
    if not port:
        return False
    options = [
        ("grpc.ssl_target_name_override", "ping.default.svc.cluster.local"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    credentials = grpc.ssl_channel_credentials(files.ca, files.private_key, files.cert_chain)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        code = await channel.unary_unary("/a.B/C")(b"", timeout=TIMEOUT).code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return code is grpc.StatusCode.OK


async def accepted(files: Material, peer: Material) -> bool:
    """Return whether the identity is accepted in both roles."""
    async with server(files) as port:
        as_server = await call(port, peer)
    async with server(peer) as port:
        as_client = await call(port, files)
    return as_server and as_client


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_diagnosis_is_that_of_real_peers(case: Case) -> None:
    """The peer uses the same bundle, or a good one if that bundle is broken."""
    files = case.files
    good = over(ROOT.issue())
    with contextlib.suppress(IdentityError):
        files = _as_used(files)
    peer = Material(good.cert_chain, good.private_key, good.ca + files.ca if b"CERT" in files.ca else good.ca)
    files = Material(files.cert_chain, files.private_key, files.ca + ROOT.pem)
    assert await accepted(files, peer) is case.grpc, case.why


def _as_used(files: Material) -> Material:
    """Return the identity as the mesh hands it to gRPC."""
    own = Credentials.parse(files.cert_chain, files.private_key, files.ca)
    return Material(own.cert_chain, own.private_key, own.ca)
