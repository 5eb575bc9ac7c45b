"""A server that does not accept our certificate: with TLS 1.3 it closes the connection, and says no more."""

from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from grpcmesh.ca import CertificateAuthority
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from tests.integration.replicas import Cluster


async def test_the_callers_error_names_our_certificate(tmp_path: Path) -> None:
    ping = Cluster(tmp_path)
    foreign = CertificateAuthority()
    leaf = ping.ca.issue("ping")
    # The server trusts another CA than ours, and its own certificate is one that we accept.
    async with PingServer(replace(leaf, ca_crt=foreign.issue("ping").ca_crt)) as server, ping.channel:
        ping.resolve(server)
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await ping.stub.Ping(PingRequest(), timeout=20)
    assert e.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "it may not accept our certificate (spiffe://cluster.local/" in (e.value.details() or "")
