"""Measures what the mesh costs: CPU and latency per unary call, against bare grpc.aio, alternating in one
run.

    python bench/overhead.py [--rounds 15] [--calls 1000] [--concurrency 8] [--loop uvloop] [--json]

Each variant is a server process and a client in this process. Rounds alternate over the variants, so
that a noisy machine is noisy for all of them; a figure is the median over the rounds, and a ratio is
the median of the ratios within a round. CPU is user plus system time of both processes, all threads.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once

# isort: split
import grpc
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ecommerce import product_pb2
from ecommerce.product_pb2_grpc import (
    ProductServiceServicer,
    ProductServiceStub,
    add_ProductServiceServicer_to_server,
)
from intervals import paired, percentile

from grpcmesh.auth import StaticKeys, TokenIssuer, TokenVerifier
from grpcmesh.authz import PolicyStore
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import (
    AdmissionConfig,
    AuthConfig,
    AuthzConfig,
    BalancerConfig,
    HealthConfig,
    IdentityConfig,
    MeshConfig,
    TelemetryConfig,
)
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import Address, StaticResolver
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.telemetry import Telemetry

#: The variants with their descriptions, in the order of a round.
VARIANTS = {
    "bare": "grpc.aio, no TLS, nothing else",
    "bare+tls": "the same with grpc's own mTLS",
    "round_robin": "grpc's own round_robin over 3 servers, no TLS",
    "pick": "MeshChannel over the same 3 servers, no TLS, no layers",
    "full": "mTLS, balancing, metrics, tracing 1 %, authz, JWT, deadline, retry",
    "full+log": "the same with an access log line a call",
}
#: The ratios: name -> (variant, base variant, budget or None).
RATIOS = {
    "mTLS alone": ("bare+tls", "bare", None),
    "a pick in Python": ("pick", "round_robin", 1.05),
    "the whole stack": ("full", "bare", 1.25),
    "the whole stack over mTLS alone": ("full", "bare+tls", None),
    "with an access log line a call": ("full+log", "bare", None),
}
POLICY = """
[[allow]]
from = ["storefront"]
methods = ["ecommerce.ProductService/*"]
[users]
"ecommerce.ProductService/*" = "user"
"""
PRODUCT = product_pb2.Product(
    id=1, name="Loopback Lamp", description="It lights itself.", price=19.99, stock=7
)


class Products(ProductServiceServicer):
    """Answers from memory, so that only the stack is measured."""

    async def GetProduct(self, request: Any, context: Any) -> Any:
        return product_pb2.GetProductResponse(product=PRODUCT)


def config(directory: Path, service: str, access_log: str = "off") -> MeshConfig:
    return MeshConfig(
        service=service,
        replica=f"{service}-1",
        address="127.0.0.1:0",
        identity=IdentityConfig(directory=directory / service),
        authz=AuthzConfig(policy_file=directory / "policy.toml"),
        balancer=BalancerConfig(slow_start=0),
        health=HealthConfig(watch=True),
        auth=AuthConfig(issuer="https://issuer.example.com", audience="bench"),
        telemetry=TelemetryConfig(sample_ratio=0.01, access_log=access_log),  # type: ignore[arg-type]
        # Admission does its work, but refuses nothing: a busy machine must not end a measurement.
        admission=AdmissionConfig(target_age=3600),
    )


def signing_key(directory: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes((directory / "signing.key").read_bytes())


# -- the server process -------------------------------------------------------------------------


async def serve(variant: str, directory: Path) -> None:
    async with AsyncExitStack() as stack:
        starter = serve_mesh if variant.startswith("full") else serve_bare
        port = await starter(variant, directory, stack)
        print(port, flush=True)
        # The parent asks for our CPU time with a line, and ends us by closing the pipe.
        done, loop = asyncio.Event(), asyncio.get_running_loop()
        threading.Thread(target=answer_cpu, args=(loop, done), daemon=True).start()
        await done.wait()


def answer_cpu(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
    loop.call_soon_threadsafe(done.set)


async def serve_bare(variant: str, directory: Path, stack: AsyncExitStack) -> int:
    server = grpc.aio.server()
    add_ProductServiceServicer_to_server(Products(), server)
    if variant == "bare+tls":
        leaf = [(directory / "product" / n).read_bytes() for n in ("tls.key", "tls.crt", "ca.crt")]
        credentials = grpc.ssl_server_credentials([(leaf[0], leaf[1])], leaf[2], require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stack.push_async_callback(server.stop, 0)
    return port


async def serve_mesh(variant: str, directory: Path, stack: AsyncExitStack) -> int:
    settings = config(directory, "product", "all" if variant == "full+log" else "off")
    telemetry = Telemetry(settings)
    await telemetry.start()
    stack.push_async_callback(telemetry.aclose)
    identity = IdentityStore(settings.identity)
    identity.load()
    policy = PolicyStore(settings.authz)
    policy.load()
    verifier = TokenVerifier(settings.auth, StaticKeys({"bench": signing_key(directory).public_key()}))
    await verifier.refresh()
    layers = server_layers(settings, telemetry, policy, verifier, identity)
    health = HealthServicer()
    server = MeshServer(settings, identity=identity, layers=layers, health=health)
    add_ProductServiceServicer_to_server(Products(), server)
    await server.start()
    health.set_all(True)
    stack.push_async_callback(server.stop, 0)
    return server.port


# -- the client ---------------------------------------------------------------------------------


@dataclass
class Peer:
    """A server process of one variant."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls, variant: str, directory: Path, loop: str) -> "Peer":
        command = [sys.executable, __file__, "--serve", variant, "--directory", str(directory)]
        command += ["--loop", loop]
        with (directory / f"{variant}.log").open("w") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{variant} did not start:\n{(directory / f'{variant}.log').read_text()}")
        return cls(process, int(line))

    def cpu(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("cpu\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@dataclass
class Variant:
    """One way to call, and the cost of each of its rounds."""

    peers: list[Peer]
    call: Callable[[], Awaitable[Any]]
    cpu: list[float] = field(default_factory=list)
    """CPU seconds per call, of each round."""
    latencies: list[list[float]] = field(default_factory=list)
    """Seconds of each call, of each round."""

    async def round(self, calls: int, concurrency: int) -> None:
        latencies: list[float] = []

        async def worker() -> None:
            for _ in range(calls // concurrency):
                start = time.perf_counter()
                await self.call()
                latencies.append(time.perf_counter() - start)

        before = time.process_time() + sum(p.cpu() for p in self.peers)
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        after = time.process_time() + sum(p.cpu() for p in self.peers)
        self.cpu.append((after - before) / len(latencies))
        self.latencies.append(latencies)

    def summary(self) -> dict[str, float]:
        """Return the median of the CPU over the rounds and the quantiles of all calls, in microseconds."""
        calls = [latency for of_round in self.latencies for latency in of_round]
        return {
            "cpu_us": round(statistics.median(self.cpu) * 1e6, 1),
            "p50_us": round(percentile(calls, 50) * 1e6),
            "p99_us": round(percentile(calls, 99) * 1e6),
        }


REQUEST = product_pb2.GetProductRequest(id=1)


def bare(port: int, directory: Path, tls: bool) -> grpc.aio.Channel:
    if not tls:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    leaf = [(directory / "storefront" / n).read_bytes() for n in ("ca.crt", "tls.key", "tls.crt")]
    options = [("grpc.ssl_target_name_override", "product")]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(*leaf), options)


def native_round_robin(peers: list[Peer]) -> grpc.aio.Channel:
    service_config = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
    target = "ipv4:" + ",".join(f"127.0.0.1:{p.port}" for p in peers)
    return grpc.aio.insecure_channel(target, [("grpc.service_config", service_config)])


async def mesh_channel(
    peers: list[Peer], directory: Path, stack: AsyncExitStack, full: bool, **more: Any
) -> grpc.aio.Channel:
    settings, telemetry, identity = config(directory, "storefront"), None, None
    if full:
        telemetry = Telemetry(settings)
        await telemetry.start()
        stack.push_async_callback(telemetry.aclose)
        identity = IdentityStore(settings.identity)
        identity.load()
    resolver = StaticResolver([Address("127.0.0.1", p.port) for p in peers])
    channel = MeshChannel(
        "product", settings, identity=identity, resolver=resolver, telemetry=telemetry, **more
    )
    await channel.start()
    return channel


async def variants(directory: Path, loop: str, stack: AsyncExitStack) -> dict[str, Variant]:
    def peer(variant: str) -> Peer:
        started = Peer.start(variant, directory, loop)
        stack.callback(started.stop)
        return started

    three = [peer("bare") for _ in range(3)]
    token = TokenIssuer(signing_key(directory), "bench", config(directory, "user").auth).issue(
        1, "alice", ["user"], 3600
    )
    metadata = (("authorization", f"Bearer {token}"),)

    async def variant(channel: grpc.aio.Channel, peers: list[Peer], **extra: Any) -> Variant:
        stack.push_async_callback(channel.close)
        stub = ProductServiceStub(channel)
        return Variant(peers, lambda: stub.GetProduct(REQUEST, timeout=5, **extra))

    tls, full, logged = peer("bare+tls"), peer("full"), peer("full+log")
    return {
        "bare": await variant(bare(three[0].port, directory, tls=False), three[:1]),
        "bare+tls": await variant(bare(tls.port, directory, tls=True), [tls]),
        "round_robin": await variant(native_round_robin(three), three),
        "pick": await variant(await mesh_channel(three, directory, stack, full=False), three),
        "full": await variant(
            await mesh_channel([full], directory, stack, full=True), [full], metadata=metadata
        ),
        "full+log": await variant(
            await mesh_channel([logged], directory, stack, full=True), [logged], metadata=metadata
        ),
    }


def prepare(directory: Path) -> None:
    ca = CertificateAuthority()
    for service in ("product", "storefront"):
        write_atomically(directory / service, ca.issue(service).files())
    (directory / "policy.toml").write_text(POLICY)
    (directory / "signing.key").write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prepare(directory)
        running = await variants(directory, args.loop, stack)
        await alternate(running, args.rounds, args.calls, args.concurrency)
        return summary(running)


async def alternate(running: dict[str, Variant], rounds: int, calls: int, concurrency: int) -> None:
    """Run the rounds, each over all variants, after a warm-up that does not count."""
    for v in running.values():  # connections, caches
        await v.round(200, concurrency)
        v.cpu.clear()
        v.latencies.clear()
    for n in range(rounds):
        for v in running.values():
            await v.round(calls, concurrency)
        print(f"\rround {n + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def summary(running: dict[str, Variant]) -> dict[str, Any]:
    rows = {name: v.summary() for name, v in running.items()}
    ratios = {
        name: {**paired(running[of].cpu, running[to].cpu), "budget": budget}
        for name, (of, to, budget) in RATIOS.items()
    }
    return {"variants": rows, "ratios": ratios}


def show(result: dict[str, Any]) -> None:
    print(f"{'variant':<12} {'CPU/call':>9} {'p50':>8} {'p99':>8}  what it is")
    for name, row in result["variants"].items():
        cpu, p50, p99 = f"{row['cpu_us']:.1f} us", f"{row['p50_us']} us", f"{row['p99_us']} us"
        print(f"{name:<12} {cpu:>9} {p50:>8} {p99:>8}  {VARIANTS[name]}")
    show_ratios("CPU ratio", result["ratios"])


def show_ratios(title: str, rows: dict[str, dict[str, Any]]) -> None:
    print(f"\n{title:<34} {'median':>7} {'95 % interval':>15} {'budget':>7}")
    for name, row in rows.items():
        budget = f"{row['budget']:.2f}" if row["budget"] else "-"
        bounds = "{:.3f}-{:.3f}".format(*row["interval"]) if row["interval"] else "-"
        print(f"{name:<34} {row['ratio']:>7.3f} {bounds:>15} {budget:>7}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every comparison."""
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=1000, help="calls per variant and round")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument(
        "--loop", choices=["uvloop", "asyncio"], default="uvloop", help="event loop of clients and servers"
    )
    parser.add_argument("--json", action="store_true")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add_options(parser)
    parser.add_argument("--serve", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    run = uvloop.run if args.loop == "uvloop" else asyncio.run
    if args.serve:
        run(serve(args.serve, args.directory))
        return
    result = run(measure(args))
    if args.json:
        print(json.dumps({"loop": args.loop, "concurrency": args.concurrency, **result}, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
