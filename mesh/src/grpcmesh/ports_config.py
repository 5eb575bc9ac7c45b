"""Settings of the ports of a process: the mesh port, the plaintext health port, and the admin port."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpcmesh.environ import require

#: C-core's default.
_MESSAGE = 4 * 1024 * 1024


@dataclass(frozen=True)
class ServerConfig:
    """The mesh port: what a peer, and all peers together, may take of it. See mesh/docs/hostile-peers.md."""

    max_receive_message: int = _MESSAGE
    """Bytes of the longest request; -1: no bound."""
    max_send_message: int = -1
    """Bytes of the longest response; -1: no bound."""
    max_metadata: int = 16 * 1024
    """Bytes of the metadata of a request; longer ones are refused."""
    max_connections: int = 4096
    """Open at a time, of all peers; at most what the limit of file descriptors leaves. 0: only that."""
    max_connections_per_peer: int = 512
    """Open at a time from one IP address; the newest beyond are closed within a second. 0: no bound."""
    max_concurrent_streams: int = 250
    """Calls at a time over one connection; further ones wait at the client."""
    max_pending_calls: int = 10_000
    """Calls that wait to be accepted; further ones are refused."""
    wasted_calls: float = 200.0
    """Calls per second of one peer that come to nothing: cancelled, refused, of a method that is not there.
    A connection with more of them is closed. 0: no bound."""
    wasted_calls_burst: int = 500
    """How many of them may come at once."""
    keepalive_time: float = 30.0
    """Seconds without traffic after which a peer is pinged."""
    keepalive_timeout: float = 10.0
    """Seconds that it has to answer."""
    handshake_timeout: float = 5.0
    """Seconds that a TLS handshake may take."""
    max_connection_age: float = 0.0
    """Seconds after which a connection is asked to end, once its calls have; 0: never."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Any channel argument: `grpc.http2.max_frame_size=65536,grpc.optimization_target=latency`."""
    reflection: bool = True
    """Whether server reflection is served, to every workload of the mesh."""
    channelz: bool = True
    """Whether channelz is served, to every workload of the mesh."""

    def __post_init__(self) -> None:
        for name in ("max_receive_message", "max_send_message"):
            require(getattr(self, name) >= -1, f"server.{name}: must be a size or -1")
        for name in ("max_connections", "max_connections_per_peer", "wasted_calls", "max_connection_age"):
            require(getattr(self, name) >= 0, f"server.{name}: must not be negative")
        for name in ("max_metadata", "max_concurrent_streams", "max_pending_calls", "wasted_calls_burst"):
            require(getattr(self, name) > 0, f"server.{name}: must be positive")
        for name in ("keepalive_time", "keepalive_timeout", "handshake_timeout"):
            require(getattr(self, name) > 0, f"server.{name}: must be positive")


@dataclass(frozen=True)
class HealthConfig:
    """Health of this process and of its peers."""

    address: str = "127.0.0.1:50052"
    """Where the plaintext health port listens: a kubelet's gRPC probe cannot do TLS."""
    watch: bool = True
    """Watch each endpoint with grpc.health.v1.Health/Watch."""
    max_connections: int = 128
    """Open at a time to the plaintext port, of all peers."""
    max_connections_per_peer: int = 16
    """Open at a time to the plaintext port from one IP address; the oldest beyond is closed."""
    bytes_per_second: int = 16 * 1024
    """What one IP address may send to the plaintext port; more is read later. A probe sends about 300."""
    max_watchers: int = 4096
    """Watchers of the mesh port at a time; the plaintext port has 64 of its own."""
    max_watchers_per_peer: int = 1024
    """Watchers of one workload at a time."""

    def __post_init__(self) -> None:
        for name in (
            "max_connections", "max_connections_per_peer", "bytes_per_second", "max_watchers",
            "max_watchers_per_peer",
        ):  # fmt: skip
            require(getattr(self, name) > 0, f"health.{name}: must be positive")


@dataclass(frozen=True)
class AdminConfig:
    """The HTTP port with metrics and the admin page."""

    address: str = "127.0.0.1:9090"
    """Where it listens; empty: nowhere."""
    token_file: Path | None = None
    """A file that holds the bearer token which the page and its JSON ask for. It is read for each request,
    so that a new token holds at once."""
    metrics_only: bool = False
    """Show callers from other hosts nothing but /metrics; then an address they reach needs no token."""
    metrics_token: bool = False
    """Whether /metrics asks for the token, too."""
