"""A mesh that is nothing but admin ports: pages of metrics as real processes write them, and a status.

One process serves all ports, on loopback. The counters follow the clock: a page costs little to write.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The shop's calls: who calls whom.
SHOP: Mapping[str, Sequence[str]] = {
    "storefront": ("product", "order", "user"),
    "order": ("product", "payment", "user", "notification"),
    "product": ("user",),
    "payment": ("user",),
    "user": ("notification",),
    "notification": ("user",),
    "chat": ("user",),
    "analytics": ("product",),
    "loadgen": ("product", "order", "analytics"),
}
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0)
#: What every process says of its settings, by target; an empty name for its own.
_SETTINGS = json.dumps(
    {
        "": [
            {"name": "MESH_NAMESPACE", "value": "meshmart", "source": "environment"},
            {"name": "MESH_RETRY_MAX_ATTEMPTS", "value": "3", "source": "environment"},
            {"name": "MESH_DRAIN_GRACE", "value": "5.0", "source": "default"},
        ],
        "product": [{"name": "product: port", "value": "50051", "source": "MESH_RESOLVER_PORT"}],
    }
).encode()
#: Calls per second of one replica to one target.
_RATE = 4.0


def chains(services: int, calls: int = 3) -> Mapping[str, Sequence[str]]:
    """Return the call graph of so many services, each of which calls the next ones."""
    names = [f"service-{n:02d}" for n in range(services)]
    return {name: names[i + 1 : i + 1 + calls] for i, name in enumerate(names)}


@dataclass
class Traffic:
    """What the ports were asked for."""

    requests: int = 0
    sent: int = 0
    """Bytes."""


@dataclass
class SimulatedMesh:
    """Services and replicas.

    Args:
        graph: Whom each service calls.
        replicas: Replicas of each service.
        clock: Unix seconds.
    """

    graph: Mapping[str, Sequence[str]]
    replicas: int
    clock: Callable[[], float] = time.time
    traffic: Traffic = field(default_factory=Traffic)
    servers: list[asyncio.Server] = field(default_factory=list)
    ports: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock()

    async def start(self) -> None:
        """Open one port for each replica."""
        loop = asyncio.get_running_loop()
        for number, service in enumerate(self.graph):
            for one in range(self.replicas):
                server = await loop.create_server(
                    lambda s=service, n=number, o=one: _Port(self, s, n, o), "127.0.0.1", 0
                )
                self.servers.append(server)
                self.ports[service, one] = server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        for server in self.servers:
            server.close()

    async def status(self) -> dict[str, Any]:
        """Return what `meshmart status --json` says of such a cluster."""
        return {
            "services": {
                service: {
                    "port": 50051,
                    "replicas": [self._replica(number, service, i) for i in range(self.replicas)],
                }
                for number, service in enumerate(self.graph)
            }
        }

    def _replica(self, number: int, service: str, index: int) -> dict[str, Any]:
        host = _host(number, index)
        return {
            "id": index + 1,
            "address": host,
            "port": 50051,
            "pid": 1000 * number + index + 1,
            "ready": True,
            "restarts": 0,
            "metrics": f"http://127.0.0.1:{self.ports[service, index]}/metrics",
            "health": f"{host}:50052",
        }

    def page(self, service: str, number: int, index: int) -> bytes:
        """Return the metrics page of a replica."""
        up = self.clock() - self.started + 100
        lines = [
            f"process_start_time_seconds {self.started:.2f}",
            "mesh_serving 1.0",
            "mesh_draining 0.0",
            f"mesh_admission_limit {64 + index % 7}.0",
            f"mesh_admission_in_flight {index % 3}.0",
            "mesh_faults_active 0.0",
            # Replicas of a service share a certificate, as in the shop.
            f'mesh_certificate_info{{serial="{number:08x}a1b2c3d4",workload="{service}"}} 1.0',
            f"mesh_certificate_not_before_timestamp_seconds {self.started:.1f}",
            f"mesh_certificate_expiry_timestamp_seconds {self.started + 86400:.1f}",
        ]
        callers = sum(service in targets for targets in self.graph.values())
        about = f'grpc_method="Get",grpc_service="sim.{service}",grpc_type="unary"'
        lines += _calls("grpc_server", about, _RATE * callers * up * (1 + index % 5 / 50))
        lines.append(f"grpc_server_started_total{{{about}}} {_RATE * up:.1f}")
        for target in self.graph[service]:
            lines += self._target(target, up)
        return "\n".join(lines).encode()

    def _target(self, target: str, up: float) -> list[str]:
        about = f'grpc_method="Get",grpc_service="sim.{target}",grpc_type="unary"'
        number = list(self.graph).index(target)
        lines = _calls("grpc_client", about, _RATE * up)
        lines += [
            f'mesh_retries_total{{target="{target}"}} 3.0',
            f'mesh_retry_budget_spent{{target="{target}"}} 1.0',
            f'mesh_retry_budget_allowed{{target="{target}"}} 20.0',
            f'mesh_breaker_in_flight{{target="{target}"}} 2.0',
            f'mesh_breaker_limit{{limit="concurrent",target="{target}"}} 100.0',
            f'mesh_calls_waiting{{target="{target}"}} 0.0',
        ]
        for index in range(self.replicas):
            where = f'endpoint="{_host(number, index)}:50051",target="{target}"'
            lines.append(f"mesh_picks_total{{{where}}} {_RATE * up / self.replicas:.1f}")
            lines.append(f"mesh_endpoint_in_flight{{{where}}} 0.0")
        return lines


def _host(number: int, index: int) -> str:
    return f"127.{1 + number // 250}.{1 + number % 250}.{index + 1}"


def _calls(prefix: str, about: str, calls: float) -> list[str]:
    lines = [f'{prefix}_handled_total{{{about},grpc_code="OK"}} {calls:.1f}']
    for i, bound in enumerate(_BOUNDS):
        lines.append(
            f'{prefix}_handling_seconds_bucket{{{about},le="{bound}"}} {calls * min(1, 0.7 + 0.1 * i):.1f}'
        )
    lines.append(f'{prefix}_handling_seconds_bucket{{{about},le="+Inf"}} {calls:.1f}')
    return lines


class _Port(asyncio.Protocol):
    """One connection to one admin port; it answers every request with the metrics page, or
    with the settings."""

    def __init__(self, mesh: SimulatedMesh, service: str, number: int, index: int) -> None:
        self._mesh, self._whose, self._read = mesh, (service, number, index), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            asked, _, self._read = self._read.partition(b"\r\n\r\n")
            body = _SETTINGS if asked.startswith(b"GET /settings.json") else self._mesh.page(*self._whose)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)  # type: ignore[attr-defined]
            self._mesh.traffic.requests += 1
            self._mesh.traffic.sent += len(head) + len(body)
