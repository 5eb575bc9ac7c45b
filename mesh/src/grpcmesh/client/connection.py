"""One native channel to one endpoint: its options, its state, its health, its end."""

import asyncio
from collections.abc import Callable

import grpc

from grpcmesh.config import BalancerConfig
from grpcmesh.health.watcher import HealthWatcher
from grpcmesh.tasks import stop

_READY = grpc.ChannelConnectivity.READY
_FAILURE = grpc.ChannelConnectivity.TRANSIENT_FAILURE
#: Seconds that asking why a connection fails may take.
_ASK = 1.0


def channel_options(config: BalancerConfig, authority: str) -> list[tuple[str, int | str]]:
    """Of every native channel.

    Args:
        authority: The DNS name that the server's certificate must carry: the target is an IP address.
    """
    return [
        ("grpc.default_authority", authority),
        ("grpc.ssl_target_name_override", authority),
        # Channels with equal arguments share a connection and its backoff, unless told not to.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", min(100, int(config.max_backoff * 1000))),
        # How long one attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", int(config.connect_timeout * 1000)),
        ("grpc.max_reconnect_backoff_ms", max(100, int(config.max_backoff * 1000))),
        # A proxy would be used even for loopback.
        ("grpc.enable_http_proxy", 0),
        # The mesh retries, and the target is an address: nothing to look up in DNS.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        # A peer that is gone without a word is noticed 5 s after the last ping, one each 10 s at least.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]


class Connection:
    """A native channel that is kept connected, and watched.

    Args:
        uri: `ipv4:127.0.1.1:50051`.
        credentials: None: plaintext.
        watch_health: Whether it counts as ready only when its server says that it serves.
        on_change: Called after each change of `ready`, `healthy` or `failed`.
    """

    def __init__(
        self,
        uri: str,
        credentials: grpc.ChannelCredentials | None,
        options: list[tuple[str, int | str]],
        watch_health: bool,
        on_change: Callable[["Connection"], None],
    ) -> None:
        self.channel = (
            grpc.aio.secure_channel(uri, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(uri, options)
        )
        self.in_flight = 0
        self.closed = False
        self.connected = False
        #: What its server said last; None: nothing yet.
        self.healthy: bool | None = None if watch_health else True
        #: It could not be connected, or was refused, and has not been ready since.
        self.failed = False
        self.error = ""
        self._watch_health, self._on_change = watch_health, on_change
        self._idle: asyncio.Event | None = None

    @property
    def ready(self) -> bool:
        return self.connected and bool(self.healthy)

    async def run(self) -> None:
        """Keeps it connected and follows its state, until cancelled."""
        while True:
            state = self.channel.get_state(try_to_connect=True)
            self._note(state)
            if state is grpc.ChannelConnectivity.SHUTDOWN:
                return
            if state is _READY and self._watch_health:
                await self._watch()
                continue
            if state is _FAILURE:
                await self._ask_why()
            await self.channel.wait_for_state_change(state)

    def check(self) -> bool:
        """Looks whether it is connected now, rather than when the loop comes to tell."""
        if not self.closed and self.channel.get_state() is not _READY:
            self._note(grpc.ChannelConnectivity.IDLE)
        return self.connected

    def release(self) -> None:
        """A call over it has ended."""
        self.in_flight -= 1
        if self._idle is not None and not self.in_flight:
            self._idle.set()

    async def drain(self, timeout: float) -> bool:
        """Lets its calls end, for so many seconds at most, and closes it. Whether all had ended."""
        self._idle = asyncio.Event()
        if self.in_flight:
            try:
                async with asyncio.timeout(timeout):
                    await self._idle.wait()
            except TimeoutError:
                pass
        finished = not self.in_flight
        await self.close()
        return finished

    async def close(self) -> None:
        """Closes it at once; calls that still run are cancelled."""
        self.closed = True
        await self.channel.close()

    async def _watch(self) -> None:
        """Watches health for as long as it is connected."""
        watcher = HealthWatcher(self.channel, self._note_health, self._note_error)
        task = asyncio.create_task(watcher.run())
        try:
            await self.channel.wait_for_state_change(_READY)
        finally:
            await stop(task)

    def _note(self, state: grpc.ChannelConnectivity) -> None:
        connected, before = state is _READY, self.connected
        # Refused by the server after the handshake: connected, and gone before it said anything.
        refused = before and not connected and self.healthy is None
        failed = (self.failed or refused or state is _FAILURE) and not (connected and self.healthy)
        if not connected and self._watch_health:
            self.healthy = None
        if (connected, failed) != (before, self.failed):
            self.connected, self.failed = connected, failed
            self._on_change(self)

    def _note_health(self, healthy: bool) -> None:
        if self.connected:
            self.healthy = healthy
            self.failed, self.error = False, ""
            self._on_change(self)

    def _note_error(self, error: str) -> None:
        self.error = error
        if self.connected and self.healthy is None:
            self.failed = True
        self._on_change(self)

    async def _ask_why(self) -> None:
        """gRPC tells the reason of a failed connection only to a call."""
        watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
        watch = self.channel.unary_stream("/grpc.health.v1.Health/Watch")
        call = watch(b"", timeout=_ASK)
        try:
            async with asyncio.timeout(_ASK):
                if await call.code() is grpc.StatusCode.UNAVAILABLE:
                    self.error = await call.details()
                    self._on_change(self)
        except TimeoutError:
            pass
        finally:
            call.cancel()

    def __repr__(self) -> str:
        return f"<Connection connected={self.connected} healthy={self.healthy} in_flight={self.in_flight}>"
