"""A client's certificate that ends while its connection is open; the server's clock is moved."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.ca import CertificateAuthority, Leaf
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.serverkit import Served, failure, serve, until

DAY = datetime.timedelta(days=1)
REFUSED = "mesh_identity_refused_total"


async def open_streams(stub: PingServiceStub) -> list[Any]:
    """Open one idle stream of each kind, each answered or at least begun."""

    async def nothing_more() -> AsyncIterator[PingRequest]:
        yield PingRequest(text="a")
        await asyncio.Event().wait()

    down = stub.Count(PingRequest(delay=0.1))  # without an end
    await down.read()
    both = stub.Echo(nothing_more())
    await both.read()
    return [down, both]


async def ends_with(stream: Any) -> tuple[grpc.StatusCode, str]:
    """Read the stream to its end, and return its code and details."""
    async with asyncio.timeout(30):
        error = await failure(_read_all(stream))
    return error.code(), error.details() or ""


async def _read_all(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as made:
        made.write_certificate(made.ca.issue("ping", lifetime=30 * DAY))
        await until(lambda: made.metric("mesh_certificate_reloads_total", result="success") == 1)
        yield made


async def test_an_expired_certificate_is_refused_on_an_open_connection(served: Served) -> None:
    short, long = (served.ca.issue("client", lifetime=days * DAY) for days in (1, 10))
    async with served.channel(short) as ending, served.channel(long) as staying:
        stub, other = PingServiceStub(ending), PingServiceStub(staying)
        streams, kept = await open_streams(stub), await open_streams(other)
        await stub.Ping(PingRequest())

        served.ahead = 2 * DAY.total_seconds()
        for stream in streams:
            code, details = await ends_with(stream)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "the client certificate expired at" in details
        error = await failure(stub.Ping(PingRequest()))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "the client certificate expired at" in (error.details() or "")
        assert served.metric(REFUSED, reason="expired") == 1
        assert served.metric("mesh_identity_ended_streams_total") == len(streams)

        await other.Ping(PingRequest())
        assert not any(stream.done() for stream in kept)


async def test_a_client_whose_ca_has_left_the_bundle_is_refused_on_an_open_connection(served: Served) -> None:
    renewed = CertificateAuthority(generation=2)
    leaf = renewed.issue("ping")
    both = served.ca.pem + renewed.pem
    served.write_certificate(Leaf(leaf.tls_crt, leaf.tls_key, both))
    await until(lambda: served.metric("mesh_certificate_reloads_total", result="success") == 2)
    clients = (served.channel(ca.issue("client"), both) for ca in (served.ca, renewed))
    async with next(clients) as old, next(clients) as new:
        stub, other = PingServiceStub(old), PingServiceStub(new)
        streams, kept = await open_streams(stub), await open_streams(other)

        served.write_certificate(renewed.issue("ping"))
        for stream in streams:
            code, details = await ends_with(stream)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "generation 1" in details
        error = await failure(stub.Ping(PingRequest()))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert served.metric(REFUSED, reason="untrusted") == 1

        await other.Ping(PingRequest())
        assert not any(stream.done() for stream in kept)
