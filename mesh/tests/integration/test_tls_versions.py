"""TLS 1.3 only. Each test uses its own processes, since gRPC reads its variables once."""

import asyncio
import contextlib
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from grpcmesh.grpc_environment import CIPHER_SUITES, TLS13_ONLY, prepare
from grpcmesh.identity.old_tls import VERSION_IS_TOLD
from tests.integration import rawh2
from tests.integration.test_runtime import Process, process

CLIENT = Path(__file__).with_name("tls_client.py")
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


async def shakes(process: Process, version: ssl.TLSVersion) -> bool:
    """Return whether a client with a good certificate receives HTTP/2 frames over this version."""
    context = rawh2.tls(process.ca.issue("client"))
    context.minimum_version = context.maximum_version = version
    try:
        async with rawh2.connect(process.address("mesh"), context) as connection:
            return await asyncio.wait_for(connection.receive(), 20) is not None
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize(
    ("suites", "old"),
    [
        (TLS13_ONLY, False),
        pytest.param("HIGH", True, marks=pytest.mark.skipif(not VERSION_IS_TOLD, reason="does not start")),
    ],
)
async def test_a_client_with_tls_1_2_is_refused_in_the_handshake(
    tmp_path: Path, suites: str, old: bool
) -> None:
    process = Process(tmp_path, **{CIPHER_SUITES: suites})
    try:
        await process.ready()
        assert await shakes(process, TLS13)
        assert await shakes(process, TLS12) is old
    finally:
        process.popen.kill()
        process.popen.wait()


@pytest.mark.skipif(VERSION_IS_TOLD, reason="refuses the calls")
async def test_a_service_that_would_take_tls_1_2_unnoticed_does_not_start(tmp_path: Path) -> None:
    async with process(tmp_path, **{CIPHER_SUITES: "HIGH"}) as p:
        assert await p.code() == 1
        assert "GRPC_SSL_CIPHER_SUITES=HIGH would allow TLS 1.2: unset it" in p.text()


class Server:
    """A server that accepts one version of TLS, and keeps the received bytes."""

    def __init__(self) -> None:
        self.heard = b""
        self.address = ""

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            writer.write(rawh2.frame(rawh2.SETTINGS))
            while data := await reader.read(4096):
                self.heard += data
        writer.transport.abort()


@contextlib.asynccontextmanager
async def listening(leaf: Leaf, version: ssl.TLSVersion, directory: Path) -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    pem = directory / "server.pem"
    pem.write_bytes(leaf.tls_key + leaf.tls_crt)
    context.load_cert_chain(pem)
    made = Server()
    server = await asyncio.start_server(made.hear, "127.0.0.1", 0, ssl=context)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


async def call(directory: Path, address: str, suites: str) -> tuple[str, str]:
    """Return the code and details of a call by a process with these cipher suites."""
    environ = {**os.environ, CIPHER_SUITES: suites}
    command = [sys.executable, str(CLIENT), str(directory), address]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environ, stdout=subprocess.PIPE, timeout=60, check=True
    )
    code, details = json.loads(done.stdout)
    return code, details


async def test_a_server_with_tls_1_2_gets_no_word_of_a_call(tmp_path: Path) -> None:
    ca = CertificateAuthority()
    write_atomically(tmp_path / "certs", ca.issue("client").files())
    async with listening(ca.issue("ping"), TLS12, tmp_path) as server:
        code, details = await call(tmp_path / "certs", server.address, TLS13_ONLY)
        assert code == "UNAVAILABLE"
        assert "it speaks no TLS 1.3" in details
        assert not server.heard


def test_where_grpc_has_been_imported_nothing_is_set_any_more() -> None:
    late: dict[str, str] = {}
    assert prepare(late, imported=True, version="1.82.3") is False
    assert late == {}
    early: dict[str, str] = {}
    assert prepare(early, imported=False, version="1.82.3") is True
    assert prepare(early, imported=True, version="1.82.3") is True
    own = {CIPHER_SUITES: "HIGH"}
    assert prepare(own, imported=False, version="1.82.3") is False
    assert own[CIPHER_SUITES] == "HIGH"


def test_a_process_that_imports_the_runtime_first_takes_no_tls_below_1_3() -> None:
    program = "import grpcmesh.runtime, grpcmesh.grpc_environment as e; print(e.tls13_only)"
    environ = {name: value for name, value in os.environ.items() if name != CIPHER_SUITES}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE, timeout=60, check=True
    )
    assert done.stdout.split() == [b"True"]


@pytest.mark.skipif(VERSION_IS_TOLD, reason="the server refuses the calls")
async def test_a_client_that_would_take_tls_1_2_unnoticed_calls_nobody(tmp_path: Path) -> None:
    ca = CertificateAuthority()
    write_atomically(tmp_path / "certs", ca.issue("client").files())
    async with listening(ca.issue("ping"), TLS12, tmp_path) as server:
        code, details = await call(tmp_path / "certs", server.address, "HIGH")
        assert (code, server.heard) == ("IdentityError", b"")
        assert "would allow TLS 1.2" in details


LOAD = """
from pathlib import Path
from grpcmesh.config import IdentityConfig
from grpcmesh.identity import IdentityError, IdentityStore
try:
    IdentityStore(IdentityConfig(Path(sys.argv[1]))).load()
except IdentityError as e:
    print(e)
else:
    print("loaded")
"""
SET = f"os.environ['{CIPHER_SUITES}'] = '{TLS13_ONLY}'\n"
FIRST = f"import grpcmesh first, or start the process with {CIPHER_SUITES}={TLS13_ONLY} in its environment"


@pytest.mark.parametrize(
    ("program", "suites", "told"),
    [
        ("import grpcmesh, grpc", None, "loaded"),
        ("import grpc, grpcmesh", TLS13_ONLY, "loaded"),
        ("import grpc, grpcmesh", "ECDHE-PSK-AES128-CBC-SHA", "loaded"),
        ("import grpc, grpcmesh", None, FIRST),
        ("import grpc\n" + SET + "import grpcmesh", None, FIRST),
        ("import grpc, grpcmesh\n" + SET, None, FIRST),
        ("import grpc, grpcmesh", "HIGH", f"{CIPHER_SUITES}=HIGH would allow TLS 1.2"),
        ("import grpcmesh, grpc", "HIGH", f"{CIPHER_SUITES}=HIGH would allow TLS 1.2"),
        ("import grpcmesh, grpc", f"{TLS13_ONLY}:HIGH", "would allow TLS 1.2"),
    ],
)
def test_without_the_version_an_identity_is_loaded_only_if_no_handshake_takes_tls_1_2(
    tmp_path: Path, program: str, suites: str | None, told: str
) -> None:
    write_atomically(tmp_path, CertificateAuthority().issue("client").files())
    environ = {name: value for name, value in os.environ.items() if name != CIPHER_SUITES}
    environ |= {CIPHER_SUITES: suites} if suites else {}
    command = [sys.executable, "-c", f"import os, sys\n{program}\n{LOAD}", str(tmp_path)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert ("loaded" if VERSION_IS_TOLD else told) in done.stdout
