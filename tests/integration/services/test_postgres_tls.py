"""PostgreSQL over TLS, as `sslmode` and the certificates of a URL say."""

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from grpcmesh.ca import CertificateAuthority
from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable
from services.kit.db import Database
from services.kit.migrate import migrate
from tests.ports import free_port
from tests.postgres import Postgres, owned, throwaway

#: PostgreSQL's own word on how we came.
_TLS = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


@dataclass(frozen=True)
class Secured:
    """A server that takes TCP connections over TLS only; `nobody` needs a client certificate."""

    port: int
    files: Path

    def url(self, query: str, *, host: str = "localhost", user: str = "meshmart") -> str:
        return f"postgresql://{user}@{host}:{self.port}/postgres?{query.format(files=self.files)}"


def _certificates(directory: Path) -> None:
    """Of the server, of a client, and of a CA that nobody knows."""
    ca = CertificateAuthority()
    files = {
        **{f"server-{n}": data for n, data in ca.issue("postgres", dns_names=["localhost"]).files().items()},
        **{f"client-{n}": data for n, data in ca.issue("nobody").files().items()},
        "ca.crt": ca.pem,
        "other.crt": CertificateAuthority().pem,
    }
    for name, data in files.items():
        (directory / name).write_bytes(data)
        if name.startswith("server-"):
            owned(directory / name)


@pytest.fixture(scope="module")
def secured(postgres: Postgres) -> Iterator[Secured]:
    with tempfile.TemporaryDirectory() as directory:
        files, port = Path(directory), free_port()
        files.chmod(0o755)  # the server is another user
        _certificates(files)
        settings = ["listen_addresses='127.0.0.1'", f"port={port}", "ssl=on", f"ssl_ca_file='{files}/ca.crt'"]
        settings += [f"ssl_cert_file='{files}/server-tls.crt'", f"ssl_key_file='{files}/server-tls.key'"]
        hba = ["hostssl all nobody all cert", "hostssl all all all trust", "host all all all reject"]
        with throwaway(postgres.programs, settings, hba) as server:
            asyncio.run(_create_nobody(str(server.directory), port))
            yield Secured(port, files)


async def _create_nobody(directory: str, port: int) -> None:
    connection = await asyncpg.connect(host=directory, port=port, user="meshmart", database="postgres")
    await connection.execute("CREATE ROLE nobody LOGIN")
    await connection.close()


async def _over_tls(url: str) -> bool:
    async with Database.open(url, "shop") as db:
        return bool(await db.read(lambda c: c.scalar(_TLS)))


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=verify-full&sslrootcert={files}/ca.crt",
        "sslmode=verify-ca&sslrootcert={files}/ca.crt",
        "sslmode=require&sslrootcert={files}/ca.crt",
        "sslmode=require",
        "ssl=require",
        "sslmode=prefer",
        "",
    ],
)
async def test_each_mode_connects_over_tls(secured: Secured, query: str) -> None:
    assert await _over_tls(secured.url(query))


async def test_the_root_certificate_may_come_from_the_environment(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(secured.files / "ca.crt"))
    assert await _over_tls(secured.url("sslmode=verify-full"))


async def test_a_client_certificate_is_presented(secured: Secured) -> None:
    own = "&sslcert={files}/client-tls.crt&sslkey={files}/client-tls.key"
    url = secured.url("sslmode=verify-full&sslrootcert={files}/ca.crt" + own, user="nobody")
    assert await _over_tls(url)
    before = _open_files()
    with pytest.raises(Unavailable):
        await _over_tls(secured.url("sslmode=verify-full&sslrootcert={files}/ca.crt", user="nobody"))
    # asyncpg shuts TLS down, and leaves the socket open until it has read that the server has closed it.
    async with asyncio.timeout(60):
        while _open_files() > before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("query", "host"),
    [
        ("sslmode=verify-full&sslrootcert={files}/other.crt", "localhost"),
        ("sslmode=verify-ca&sslrootcert={files}/other.crt", "localhost"),
        ("sslmode=verify-full&sslrootcert={files}/ca.crt", "127.0.0.1"),
    ],
)
async def test_a_server_that_does_not_verify_is_refused_and_told_at_once(
    secured: Secured, query: str, host: str
) -> None:
    with pytest.raises(ConfigError, match="the server's certificate is refused"):
        await migrate(secured.url(query, host=host), "order")


async def test_verify_ca_does_not_ask_for_the_name(secured: Secured) -> None:
    assert await _over_tls(secured.url("sslmode=verify-ca&sslrootcert={files}/ca.crt", host="127.0.0.1"))


async def test_notices_go_over_tls_too(secured: Secured) -> None:
    heard = asyncio.Event()
    url = secured.url("sslmode=verify-full&sslrootcert={files}/ca.crt")
    async with Database.open(url, "shop") as db, db.listen("news", lambda _: heard.set()):
        while not heard.is_set():  # one that comes before it listens is lost
            await db.write(lambda c: db.notify(c, "news"))
            await asyncio.wait({asyncio.ensure_future(heard.wait())}, timeout=0.1)


@asynccontextmanager
async def _direct(secured: Secured, directory: Path) -> AsyncIterator[int]:
    """TLS from the first byte, as PostgreSQL 17 has it, before a server without: the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(secured.files / "server-tls.crt", secured.files / "server-tls.key")
    context.set_alpn_protocols(["postgresql"])

    socket = next(directory.glob(".s.PGSQL.*[0-9]"))  # noqa: ASYNC240 - a test's own directory

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_copy(reader, inner[1]), _copy(inner[0], writer))

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_direct_tls_checks_the_name_and_not_the_address(postgres: Postgres, secured: Secured) -> None:
    query = f"sslmode=verify-full&sslrootcert={secured.files}/ca.crt&sslnegotiation=direct"
    async with _direct(secured, postgres.directory) as port:
        for host, good in {"localhost": True, "127.0.0.1": False}.items():
            url = f"postgresql://meshmart@{host}:{port}/postgres?{query}"
            async with Database.open(url, "shop", lock_timeout=60) as db:
                with contextlib.nullcontext() if good else pytest.raises(Unavailable):
                    assert await db.read(lambda c: c.scalar(text("SELECT 1"))) == 1


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sslmode=verify-full", "sslmode=verify-full needs the certificate of the server's CA"),
        ("sslmode=verify-ca&sslrootcert=/nowhere.crt", "sslrootcert='/nowhere.crt': there is no such file"),
        ("sslmode=require&sslcert=/nowhere.crt", "sslcert='/nowhere.crt': there is no such file"),
        ("sslmode=yes", "sslmode='yes': must be one of disable"),
    ],
)
def test_what_cannot_work_is_told_when_a_process_starts(
    query: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=problem):
        Database(f"postgresql://a@b/c?{query}", "shop")


def test_the_authorities_of_the_system_may_be_trusted() -> None:
    Database("postgresql://a@b/c?sslmode=verify-full&sslrootcert=system", "shop")
