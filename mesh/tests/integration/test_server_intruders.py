"""Rejected clients, over real TLS, and the count of each refusal."""

import asyncio
import datetime
import socket
import ssl
from pathlib import Path

import grpc
import pytest

from grpcmesh import status
from grpcmesh.ca import CertificateAuthority, Leaf
from grpcmesh.grpc_environment import tls13_only
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration import rawh2
from tests.integration.serverkit import Served, failure, serve, until

FAILURES = "mesh_tls_handshake_failures_total"


async def refused(served: Served, channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    async with channel:
        return await failure(PingServiceStub(channel).Ping(PingRequest(), timeout=5))


async def test_a_known_client_is_let_in_and_its_handshake_is_no_failure(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        async with served.channel() as channel:
            response = await PingServiceStub(channel).Ping(PingRequest(text="hi"))
        assert response.workload == "spiffe://cluster.local/ns/default/sa/client"
        await until(lambda: not served.identity.handshakes.pending)
        assert served.metric("mesh_tls_handshakes_total") == 1
        assert served.metric(FAILURES) == 0


async def test_a_client_without_a_certificate_is_refused_and_counted(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        error = await refused(served, served.channel(certified=False))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: served.metric(FAILURES) >= 1)
        assert not served.servicer.calls


async def test_a_client_of_a_foreign_ca_is_refused_and_counted(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        foreign = CertificateAuthority(generation=2).issue("client")
        error = await refused(served, served.channel(foreign))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: served.metric(FAILURES) >= 1)
        assert not served.servicer.calls


async def test_an_expired_client_certificate_is_refused_and_counted(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        day = datetime.timedelta(days=1)
        expired = served.ca.issue(
            "client", lifetime=-day, not_before=datetime.datetime.now(datetime.UTC) - 2 * day
        )
        assert (await refused(served, served.channel(expired))).code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: served.metric(FAILURES) >= 1)


async def test_failed_handshakes_are_counted_among_good_ones(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        good, bad = 20, 5
        for number in range(good):
            async with served.channel() as channel:
                await PingServiceStub(channel).Ping(PingRequest())
            if number % (good // bad) == 0:
                await raw_call(served, None)
        await until(lambda: not served.identity.handshakes.pending)
        assert served.metric("mesh_tls_handshakes_total") == good + bad
        assert served.metric(FAILURES) == bad


async def test_clients_that_connect_and_never_call_are_no_failures(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        channels = [served.channel() for _ in range(5)]
        for channel in channels:
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(state)
                state = channel.get_state()
        await until(lambda: not served.identity.handshakes.pending)
        for channel in channels:
            await channel.close()
        assert served.metric("mesh_tls_handshakes_total") == 5
        assert served.metric(FAILURES) == 0


async def test_a_client_that_speaks_no_tls_counts_as_a_failed_handshake(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        with socket.create_connection(("127.0.0.1", served.server.port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: served.metric(FAILURES) == 1)


async def test_a_client_with_tls_1_2_is_refused_at_the_call_and_counted(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        frames = await raw_call(served, served.ca.issue("client"), ssl.TLSVersion.TLSv1_2)
        if tls13_only:  # this process has imported the runtime before grpc
            assert not frames
            await until(lambda: served.metric(FAILURES) == 1)
            return
        assert b"TLS 1.3 is required" in frames
        assert served.metric("mesh_identity_refused_total", reason="tls_version") == 1
        assert served.metric("grpc_server_handled_total", grpc_code="Unauthenticated") == 1
        assert not served.servicer.calls


async def test_a_raw_client_with_tls_1_3_is_served(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        assert await raw_call(served, served.ca.issue("client"))
        assert served.servicer.calls["Ping"] == 1


@pytest.mark.parametrize(
    ("uris", "reason"),
    [
        ([], "no_spiffe_id"),
        (["https://client.example"], "no_spiffe_id"),
        (["spiffe://elsewhere/ns/default/sa/client"], "foreign_trust_domain"),
    ],
)
async def test_a_certificate_without_our_spiffe_id_is_unauthenticated(
    tmp_path: Path, uris: list[str], reason: str
) -> None:
    async with serve(tmp_path) as served:
        error = await refused(served, served.channel(served.ca.issue("client", uris=uris)))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert ("mesh-replica", "ping-1") in tuple(error.trailing_metadata())
        assert served.metric("mesh_identity_refused_total", reason=reason) == 1
        assert not served.servicer.calls


async def test_two_spiffe_ids_in_one_certificate_are_refused(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        uris = [served.ca.spiffe_id("client"), served.ca.spiffe_id("order")]
        error = await refused(served, served.channel(served.ca.issue("client", uris=uris)))
        assert error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)
        assert not served.servicer.calls


@pytest.mark.parametrize("namespace", ["default", "elsewhere"])
async def test_a_workload_that_the_policy_does_not_name_is_denied_and_counted(
    tmp_path: Path, namespace: str
) -> None:
    async with serve(tmp_path) as served:
        name = "stranger" if namespace == "default" else "client"
        caller = f"spiffe://cluster.local/ns/{namespace}/sa/{name}"
        error = await refused(served, served.channel(served.ca.issue(name, uris=[caller])))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        info = status.from_wire(error.trailing_metadata())
        assert info is not None
        assert b"WORKLOAD_NOT_ALLOWED" in info.details[0].value
        method = "mesh.testing.PingService/Ping"
        assert served.metric("mesh_authz_denials_total", caller=caller, method=method) == 1
        assert served.metric("grpc_server_handled_total", grpc_code="PermissionDenied") == 1


async def test_a_changed_policy_is_followed_and_a_broken_one_is_not(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        stub = PingServiceStub(channel)
        await stub.Ping(PingRequest())
        served.write_policy("[[allow]]\nfrom = ['other']\nmethods = ['mesh.testing.PingService/*']\n")
        await until(lambda: served.metric("mesh_policy_reloads_total", result="success") == 1)
        assert (await failure(stub.Ping(PingRequest()))).code() is grpc.StatusCode.PERMISSION_DENIED
        served.write_policy("[[allow]\n")
        await until(lambda: served.metric("mesh_policy_reloads_total", result="error") == 1)
        assert (await failure(stub.Ping(PingRequest()))).code() is grpc.StatusCode.PERMISSION_DENIED


async def raw_call(
    served: Served, leaf: Leaf | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> bytes:
    """Call Ping over Python's ssl. Return what the server sent until the stream, or the connection, ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(cadata=served.ca.pem.decode())
    context.set_alpn_protocols(["h2"])
    if leaf:
        pem = served.directory / "raw.pem"
        pem.write_bytes(leaf.tls_key + leaf.tls_crt)
        context.load_cert_chain(pem)
    try:
        async with asyncio.timeout(60), rawh2.connect(served.endpoint, context) as connection:
            path = b"/mesh.testing.PingService/Ping"
            return await connection.answer(await connection.request(rawh2.headers(path)))
    except (ConnectionError, ssl.SSLError):
        return b""
