"""Settings of the ports of a process: the mesh port, the plaintext health port, and the admin port."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpcmesh.environ import require

#: C-core's default of the largest message, in bytes.
_MESSAGE = 4 * 1024 * 1024


@dataclass(frozen=True)
class ServerConfig:
    """Settings of the mesh port, with limits for each peer and for all. See mesh/docs/hostile-peers.md."""

    max_receive_message: int = _MESSAGE
    """The most bytes of a request. -1: no bound."""
    max_send_message: int = -1
    """The most bytes of a response. -1: no bound."""
    max_metadata: int = 16 * 1024
    """The most bytes of a request's metadata. Requests with more are refused."""
    max_connections: int = 4096
    """The most open connections, within the limit of file descriptors. 0: only that limit applies."""
    max_connections_per_peer: int = 512
    """The most open connections from one IP address. The newest beyond it are closed within a second. 0: no
    bound."""
    max_concurrent_streams: int = 250
    """The most calls at the same time on one connection. Further ones wait at the client."""
    max_pending_calls: int = 10_000
    """The most calls that wait to be accepted. Further ones are refused."""
    wasted_calls: float = 200.0
    """Wasted calls per second that one peer may make: calls that are cancelled, refused, or to unknown
    methods. The connection of a peer that makes more is closed. 0: no bound."""
    wasted_calls_burst: int = 500
    """Wasted calls that one peer may make in a burst."""
    threads: int = 32
    """Threads for methods of servicers that are plain functions. Each such call takes one while it runs."""
    keepalive_time: float = 30.0
    """Seconds without traffic after which a peer is pinged."""
    keepalive_timeout: float = 10.0
    """Seconds that the peer has to answer a ping."""
    handshake_timeout: float = 5.0
    """Seconds that a TLS handshake may take."""
    max_connection_age: float = 0.0
    """Seconds after which a connection is asked to end once its calls have ended. 0: never."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Channel arguments: `grpc.http2.max_frame_size=65536,grpc.optimization_target=latency`."""
    error_domain: str = ""
    """The domain of reasons in errors (`google.rpc.ErrorInfo`) that name none, such as `shop.example.com`.
    Empty: the name of the service."""
    reflection: bool = True
    """Whether server reflection is served, to every workload of the mesh."""
    channelz: bool = True
    """Whether channelz is served, to every workload of the mesh."""

    def __post_init__(self) -> None:
        for name in ("max_receive_message", "max_send_message"):
            require(getattr(self, name) >= -1, f"server.{name}: must be a size or -1")
        for name in ("max_connections", "max_connections_per_peer", "wasted_calls", "max_connection_age"):
            require(getattr(self, name) >= 0, f"server.{name}: must not be negative")
        counts = (
            "max_metadata",
            "max_concurrent_streams",
            "max_pending_calls",
            "wasted_calls_burst",
            "threads",
        )
        for name in counts:
            require(getattr(self, name) > 0, f"server.{name}: must be positive")
        for name in ("keepalive_time", "keepalive_timeout", "handshake_timeout"):
            require(getattr(self, name) > 0, f"server.{name}: must be positive")


@dataclass(frozen=True)
class HealthConfig:
    """Settings of health: of this process and of endpoints."""

    address: str = "127.0.0.1:50052"
    """Address that the plaintext health port listens on. It exists because a kubelet's gRPC probe cannot do
    TLS. Empty: no health port. If the default is taken, the process goes on without one."""
    watch: bool = True
    """Whether the health of endpoints is watched (grpc.health.v1.Health/Watch)."""
    max_connections: int = 128
    """The most open connections to the plaintext port."""
    max_connections_per_peer: int = 16
    """The most open connections to the plaintext port from one IP address. The oldest beyond it is closed."""
    bytes_per_second: int = 16 * 1024
    """Bytes per second that one IP address may send to the plaintext port. More is read later. A probe sends
    about 300 bytes."""
    max_watchers: int = 4096
    """The most watchers on the mesh port. The plaintext port allows 64 in addition."""
    max_watchers_per_peer: int = 1024
    """The most watchers of one workload."""

    def __post_init__(self) -> None:
        for name in (
            "max_connections", "max_connections_per_peer", "bytes_per_second", "max_watchers",
            "max_watchers_per_peer",
        ):  # fmt: skip
            require(getattr(self, name) > 0, f"health.{name}: must be positive")


@dataclass(frozen=True)
class AdminConfig:
    """Settings of the admin port, an HTTP port with metrics and the admin page."""

    address: str = "127.0.0.1:9090"
    """Address that the port listens on. Empty: no admin port. If the default is taken, the process goes on
    without one."""
    token_file: Path | None = None
    """A file with the bearer token that the page and its JSON require. It is read at each request, so that a
    new token applies at once."""
    metrics_only: bool = False
    """Serve only /metrics to other hosts. Then an address that they can reach needs no token."""
    metrics_token: bool = False
    """Whether /metrics requires the token, too."""
