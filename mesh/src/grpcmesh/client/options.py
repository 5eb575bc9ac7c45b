"""The arguments of native channels. Pure."""

from collections.abc import Mapping

from grpcmesh.config import BalancerConfig, ChannelConfig
from grpcmesh.identity import ServerIdentity

Option = tuple[str, int | str]

#: Seconds between two keepalive pings: to a server of the mesh, and to any other server. With gRPC's default
#: enforcement, grpc-go closes a connection with more than one ping in five minutes; five seconds are added
#: because clocks differ.
MEMBER_KEEPALIVE, DEFAULT_KEEPALIVE = 10.0, 305.0


def channel_options(
    balancer: BalancerConfig,
    channel: ChannelConfig,
    target: str,
    expected: ServerIdentity,
    *,
    member: bool = False,
    own: Mapping[str, int | str] | None = None,
) -> list[Option]:
    """Return the arguments of a native channel to one endpoint of a target.

    Args:
        target: Short name of the service; the configuration may have arguments for it.
        expected: The names that the server's certificate must carry, since the address is an IP.
        member: Whether the server is known to be one of the mesh, which allows a ping every ten seconds.
        own: Arguments from code. They override those of the configuration, which override the mesh's.
    """
    options = {
        **expected.options,
        **_connecting(balancer),
        **_keepalive(channel.keepalive_of(target), member),
        **_messages(channel),
        **channel.options_of(target),
        **(own or {}),
    }
    return list(options.items())


def _connecting(balancer: BalancerConfig) -> dict[str, int | str]:
    return {
        # Without this, channels with equal arguments share a connection and its backoff.
        "grpc.use_local_subchannel_pool": 1,
        "grpc.initial_reconnect_backoff_ms": min(100, int(balancer.max_backoff * 1000)),
        # How long one attempt to connect may take.
        "grpc.min_reconnect_backoff_ms": int(balancer.connect_timeout * 1000),
        "grpc.max_reconnect_backoff_ms": max(100, int(balancer.max_backoff * 1000)),
        # Shows the server's certificate (`grpcmesh.identity.remote`).
        "grpc.enable_channelz": 1,
        # Without the events of a channel, which are in each answer about it: below 1.85.3, grpcio never frees
        # an answer (bench/grpcio.md).
        "grpc.max_channel_trace_event_memory_per_node": 0,
        # A proxy would be used even for loopback.
        "grpc.enable_http_proxy": 0,
        # The mesh retries; gRPC itself only what no server has seen, which it alone can know (gRFC A6's
        # transparent retries): there is no retry policy.
        "grpc.enable_retries": 1,
        # The target is an address: there is nothing to look up in DNS.
        "grpc.service_config_disable_resolution": 1,
    }


def _keepalive(named: float | None, member: bool) -> dict[str, int | str]:
    seconds = named if named is not None else MEMBER_KEEPALIVE if member else DEFAULT_KEEPALIVE
    return {
        # A silent peer is noticed five seconds after a ping. With keepalive on, C-core sets TCP_USER_TIMEOUT
        # to the same five seconds, so one that does not acknowledge what it is sent is noticed without any
        # ping.
        "grpc.keepalive_time_ms": int(seconds * 1000),
        "grpc.keepalive_timeout_ms": 5_000,
        "grpc.http2.ping_timeout_ms": 5_000,
        "grpc.http2.max_pings_without_data": 0,
    }


def _messages(channel: ChannelConfig) -> dict[str, int | str]:
    return {
        "grpc.max_send_message_length": channel.max_send_message,
        "grpc.max_receive_message_length": channel.max_receive_message,
    }
