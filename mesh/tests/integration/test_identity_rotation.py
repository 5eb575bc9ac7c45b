"""Certificates that change, half or whole, under a server that is called all the while."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509

from grpcmesh.ca import CertificateAuthority, Leaf
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.serverkit import Served, serve, until


async def served_serial(served: Served, leaf: Leaf, trusted: bytes | None = None) -> int:
    """Return the serial of the certificate shown in a new handshake."""
    context = ssl.create_default_context(cadata=(trusted or served.ca.pem).decode())
    context.set_alpn_protocols(["h2"])
    pem = served.directory / "looking.pem"
    pem.write_bytes(leaf.tls_key + leaf.tls_crt)
    context.load_cert_chain(pem)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", served.server.port, ssl=context, server_hostname="ping"
    )
    tls: Any = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number


async def test_new_handshakes_see_the_new_certificate_and_no_call_fails(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        stub, client, done = PingServiceStub(channel), served.ca.issue("client"), asyncio.Event()

        async def keep_calling() -> int:
            made = 0
            while not done.is_set():
                await stub.Ping(PingRequest())
                made += 1
            return made

        calling = asyncio.create_task(keep_calling())
        for number in range(1, 4):
            leaf = served.ca.issue("ping")
            served.write_certificate(leaf)
            await until(
                lambda n=number: served.metric("mesh_certificate_reloads_total", result="success") == n
            )
            assert await served_serial(served, client) == leaf.certificate.serial_number
            expiry = leaf.certificate.not_valid_after_utc.timestamp()
            assert served.metric("mesh_certificate_expiry_timestamp_seconds") == expiry
            begin = leaf.certificate.not_valid_before_utc.timestamp()
            assert served.metric("mesh_certificate_not_before_timestamp_seconds") == begin
        done.set()
        assert await calling > 0


async def test_a_renewed_ca_is_trusted_from_the_next_handshake(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        renewed = CertificateAuthority(generation=2)
        leaf = renewed.issue("ping")
        bundle = served.ca.pem + renewed.pem
        served.write_certificate(Leaf(leaf.tls_crt, leaf.tls_key, bundle))
        await until(lambda: served.metric("mesh_certificate_reloads_total", result="success") == 1)
        for ca in (served.ca, renewed):  # while both are in the bundle, both kinds of client come in
            async with served.channel(ca.issue("client"), bundle) as channel:
                await PingServiceStub(channel).Ping(PingRequest())


async def test_a_half_written_pair_is_never_served(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        client, good = served.ca.issue("client"), served.identity.current.serial
        leaf = served.ca.issue("ping")
        data = served.directory / "certs" / "..data"
        for broken in [
            {"tls.crt": leaf.tls_crt},  # the new certificate beside the old key
            {"tls.crt": leaf.tls_crt[: len(leaf.tls_crt) // 2]},
            {"tls.crt": b""},
            {"tls.key": leaf.tls_key[:40]},
        ]:
            errors = served.metric("mesh_certificate_reloads_total", result="error")
            for name, content in broken.items():
                (data / name).write_bytes(content)
            await until(lambda e=errors: served.metric("mesh_certificate_reloads_total", result="error") > e)
            assert await served_serial(served, client) == good
        served.write_certificate(leaf)
        await until(lambda: served.identity.current.serial == leaf.certificate.serial_number)
        assert await served_serial(served, client) == leaf.certificate.serial_number
