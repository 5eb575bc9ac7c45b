"""Ping services as real processes, one certificate authority, and a channel to all of them."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509

from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import BalancerConfig, DeadlineConfig, IdentityConfig, MeshConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration import rawh2
from tests.integration.replicas import eventually
from tests.integration.serverkit import POLICY
from tests.ports import free_port

MAIN = Path(__file__).with_name("ping_main.py")
#: The most seconds to wait for something that takes a moment, since the machine may be busy.
PATIENCE = 120.0


class Replica:
    """One ping process, which is restarted on the same port."""

    def __init__(self, directory: Path, name: str, mode: str = "") -> None:
        self.directory, self.name, self.mode = directory, name, mode
        self.port, self.health_port = free_port(), free_port()
        self.certs = directory / name
        self.log = directory / f"{name}.log"
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        environ = {
            "PING_MODE": self.mode,
            "MESH_REPLICA": self.name,
            "MESH_ADDRESS": self.address,
            "MESH_HEALTH_ADDRESS": f"127.0.0.1:{self.health_port}",
            "MESH_ADMIN_ADDRESS": "",
            "MESH_IDENTITY_DIRECTORY": str(self.certs),
            "MESH_IDENTITY_POLL_INTERVAL": "0.05",
            "MESH_AUTHZ_POLICY_FILE": str(self.directory / "policy.toml"),
            "MESH_TELEMETRY_ACCESS_LOG": "off",
            "MESH_DRAIN_DELAY": "0.1",
            # On a busy machine calls queue for longer than a server would stand: that is not looked at here.
            "MESH_ADMISSION_ENABLED": "false",
        }
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen([sys.executable, str(MAIN)], env=environ, stdout=out, stderr=out)

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    async def serial(self, leaf: Leaf) -> int:
        """Return the serial of the certificate shown in a new handshake, or 0 if nothing listens."""
        context = rawh2.tls(leaf)
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=context, server_hostname="ping"
            )
        except OSError:
            return 0
        tls: Any = writer.get_extra_info("ssl_object")
        writer.transport.abort()
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number


class Processes:
    """Replicas, and a channel to them that reads its certificates from a directory."""

    def __init__(self, directory: Path, count: int, mode: str) -> None:
        self.directory, self.ca = directory, CertificateAuthority()
        (directory / "policy.toml").write_text(POLICY)
        self.replicas = [Replica(directory, f"ping-{number}", mode) for number in range(1, count + 1)]
        self.client = directory / "client"
        self.issue()
        config = IdentityConfig(self.client, poll_interval=0.05)
        self.config = MeshConfig(
            "client",
            identity=config,
            balancer=BalancerConfig(slow_start=0.0, max_backoff=0.2),
            deadline=DeadlineConfig(default=20.0),
        )
        self.identity = IdentityStore.of(self.config, serves=False)
        self.identity.load()
        self.channel = self.open()
        self.stub = PingServiceStub(self.channel)

    def open(self, **changes: Any) -> MeshChannel:
        """Open a channel to the replicas."""
        resolver = FakeResolver(*(replica.address for replica in self.replicas))
        return MeshChannel("ping", self.config, identity=self.identity, resolver=resolver, **changes)

    def issue(self) -> dict[str, int]:
        """Issue new certificates to the client and all servers. Return the servers' serials."""
        write_atomically(self.client, self.ca.issue("client").files())
        serials = {}
        for replica in self.replicas:
            leaf = self.ca.issue("ping")
            write_atomically(replica.certs, leaf.files())
            serials[replica.name] = leaf.certificate.serial_number
        return serials

    async def serials(self) -> dict[str, int]:
        """Return the certificate serials that the servers show now."""
        leaf = self.ca.issue("client")
        return {replica.name: await replica.serial(leaf) for replica in self.replicas}

    async def shown(self, serials: dict[str, int]) -> None:
        """Wait until each server shows this certificate in new handshakes."""
        async with asyncio.timeout(PATIENCE):
            while await self.serials() != serials:  # noqa: ASYNC110 - the processes cannot tell
                await asyncio.sleep(0.05)

    async def ready(self, count: int) -> None:
        """Wait until `count` replicas are in rotation."""
        await self.channel.start()
        await eventually(lambda: list(self.states().values()).count("ready") == count, PATIENCE)

    def states(self) -> dict[str, str]:
        """Return the endpoints' states. One whose old connection still has a stream is listed twice."""
        return {e["address"]: e["state"] for e in self.channel.state()["endpoints"]}


@contextlib.asynccontextmanager
async def processes(directory: Path, count: int, mode: str = "") -> AsyncIterator[Processes]:
    """Run `count` replicas in rotation and watch the client's certificates. `mode`: see ping_main."""
    made = Processes(directory, count, mode)
    for replica in made.replicas:
        replica.start()
    watching = asyncio.create_task(made.identity.watch())
    try:
        await made.ready(count)
        yield made
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await made.channel.close()
        for replica in made.replicas:
            replica.kill()


@contextlib.contextmanager
def not_frozen(seconds: float) -> Iterator[None]:
    """Fail the test, rather than wait for ever, if the event loop itself is blocked."""

    def stop(number: int, frame: Any) -> None:
        raise AssertionError(f"the event loop stood still, or the test took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def trusting(leaf: Leaf, *bundle: CertificateAuthority) -> Leaf:
    """Return the same leaf with another trust bundle."""
    return Leaf(leaf.tls_crt, leaf.tls_key, b"".join(ca.pem for ca in bundle))
