"""Channel arguments of the mesh port and the health port, and the limits of file descriptors."""

import resource

from grpcmesh.config import ServerConfig

Options = tuple[tuple[str, int | str], ...]

#: File descriptors reserved for everything but connections of peers: databases, channels, files, DNS.
RESERVED_FILES = 256

#: The size in bytes that a request is assumed to have if the settings do not bound it.
UNBOUNDED_MESSAGE = 4 * 1024 * 1024
#: Arguments of every server.
COMMON: Options = (
    ("grpc.so_reuseport", 0),  # a taken port is an error, not a second server behind it
    ("grpc.http2.max_ping_strikes", 0),  # or long calls of clients with keepalive die of too_many_pings
    ("grpc.http2.ping_timeout_ms", 10_000),  # what notices a peer that stands still
    ("grpc.http.overload_protection", 1),  # streams that are reset count until they are gone,
)


def mesh_port(config: ServerConfig, files: int) -> Options:
    """Return the channel arguments of the mesh port.

    Args:
        config: Settings of the server. Its `options` override all other arguments.
        files: The limit of file descriptors of the process.
    """
    arguments: dict[str, int | str] = {
        **dict(COMMON),
        "grpc.enable_channelz": int(config.channelz),
        "grpc.max_receive_message_length": config.max_receive_message,
        "grpc.max_send_message_length": config.max_send_message,
        "grpc.max_metadata_size": config.max_metadata,
        "grpc.absolute_max_metadata_size": config.max_metadata,
        "grpc.max_concurrent_streams": config.max_concurrent_streams,
        # and a client within its limit is not refused for streams that have just ended
        "grpc.http2.max_deallocating_streams": config.max_concurrent_streams,
        "grpc.max_allowed_incoming_connections": max_connections(config, files),
        # C-core refuses at random from the first of these on, and fails such a call with CANCELLED.
        "grpc.server.max_pending_requests": config.max_pending_calls,
        "grpc.server.max_pending_requests_hard_limit": 2 * config.max_pending_calls,
        "grpc.keepalive_time_ms": _ms(config.keepalive_time),
        "grpc.keepalive_timeout_ms": _ms(config.keepalive_timeout),
        "grpc.server_handshake_timeout_ms": _ms(config.handshake_timeout),
    }
    if config.max_connection_age:
        arguments["grpc.max_connection_age_ms"] = _ms(config.max_connection_age)
    for name, value in config.options.items():
        arguments[name] = int(value) if value.lstrip("-").isdigit() else value
    return tuple(arguments.items())


def message_bytes(config: ServerConfig) -> int:
    """Return the most bytes of one request, or `UNBOUNDED_MESSAGE` if the settings do not bound it."""
    return config.max_receive_message if config.max_receive_message >= 0 else UNBOUNDED_MESSAGE


def max_connections(config: ServerConfig, files: int) -> int:
    """Return how many connections the mesh port accepts, so that file descriptors do not run out."""
    room = max(files - RESERVED_FILES, files // 2)
    return min(config.max_connections, room) if config.max_connections else room


#: Arguments of the plaintext health port, which is behind a proxy (`grpcmesh.server.front`).
HEALTH_PORT: Options = (
    *COMMON,
    ("grpc.max_concurrent_streams", 8),
    ("grpc.max_receive_message_length", 16 * 1024),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 8 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def file_limit() -> int:
    """Return the soft limit of file descriptors of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_file_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit. Only for the owner of the process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
