"""One native channel to one endpoint: its options, its state, its health, its end."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc

from grpcmesh.client.machines import Status
from grpcmesh.config import BalancerConfig
from grpcmesh.health.watcher import HealthWatcher
from grpcmesh.tasks import stop

if TYPE_CHECKING:
    from grpcmesh.client.attempt import NativeAttempt

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
        # The mesh retries; gRPC itself only what no server has seen, which it alone can know (gRFC A6's
        # transparent retries): there is no retry policy.
        ("grpc.enable_retries", 1),
        # The target is an address: there is nothing to look up in DNS.
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
        #: Attempts that run over it.
        self.attempts: set[NativeAttempt] = set()
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

    def look(self) -> bool:
        """Look whether it is connected now, rather than when the loop comes to tell."""
        if not self.closed and self.channel.get_state() is not _READY:
            self._note(grpc.ChannelConnectivity.IDLE)
        return self.connected

    def release(self, attempt: "NativeAttempt") -> None:
        """An attempt over it has ended."""
        self.attempts.discard(attempt)
        if self._idle is not None and not self.attempts:
            self._idle.set()

    async def drain(self, timeout: float | None, reason: str) -> bool:
        """Let its calls end, for so many seconds at most, and close it. Return whether all had ended.

        Args:
            timeout: None: as long as they take.
            reason: Why calls that have not ended are cut: their callers hear UNAVAILABLE, and this.
        """
        self._idle = asyncio.Event()
        if self.attempts:
            try:
                async with asyncio.timeout(timeout):
                    await self._idle.wait()
            except TimeoutError:
                pass
        finished = not self.attempts
        await self.close(reason)
        return finished

    def cut(self, reason: str) -> None:
        """End the attempts that run over it, as far as it is concerned: some may be tried elsewhere."""
        for attempt in tuple(self.attempts):
            attempt.abandon(Status(grpc.StatusCode.UNAVAILABLE, reason))

    async def close(self, reason: str) -> None:
        """Close it at once."""
        self.closed = True
        self.cut(reason)
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
        return (
            f"<Connection connected={self.connected} healthy={self.healthy} in_flight={len(self.attempts)}>"
        )
