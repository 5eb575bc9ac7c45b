"""Measures how long calls queue in this process before their handlers run, by calling itself.

A server whose handlers use much CPU has its queue in C-core, before Python sees the calls. Clients of the
mesh send the timeout of a call, from which its age follows. For calls of other clients, a probe takes the
same path as they do: through the port, TLS and the accept loop, to a handler that does nothing.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import grpc

from grpcmesh.clock import Clock
from grpcmesh.identity import Credentials, IdentityStore
from grpcmesh.serving import QueueWatcher
from grpcmesh.tasks import Tasks

PATH = "/mesh.Probe/Probe"
#: Seconds between two probes, the most probes under way, and seconds after which a probe is given up.
INTERVAL, MOST, LONGEST = 0.1, 50, 10.0


class QueueProbe:
    """Sends probes while the watcher wants them, and reports their queueing time.

    Args:
        target: The server's own address, such as `127.0.0.1:50051`.
        server_name: A name in the server's certificate.
        identity: Our certificates. If None, the port is plaintext.
        watcher: Decides when to probe, and receives the results.
        tasks: Owns the probes under way.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        target: str,
        server_name: str,
        identity: IdentityStore | None,
        watcher: QueueWatcher,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self._target, self._server_name, self._identity = target, server_name, identity
        self._watcher, self._tasks, self._clock = watcher, tasks, clock
        #: Clock times at which the probes that have not arrived were sent, oldest first, by their number. The
        #: numbers are random, because a peer that guessed one could hide the queue.
        self._sent: dict[int, float] = {}
        self._channel: grpc.aio.Channel | None = None
        self._credentials: Credentials | None = None

    @property
    def handler(self) -> Any:
        """Return the handler that serves probes. It runs outside all layers, which would add to the time."""

        async def arrive(request: bytes, context: Any) -> bytes:
            # Anybody may call this; a number that was not sent, or has arrived, means nothing.
            sent = self._sent.pop(int.from_bytes(request[:8]), None)
            if sent is not None:
                self._watcher.probed(self._clock() - sent)
            return b""

        return grpc.unary_unary_rpc_method_handler(arrive)

    async def run(self) -> None:
        """Probe until cancelled."""
        try:
            while True:
                if not self._sent:  # an idle server does not wake up ten times a second
                    self._watcher.probing(0.0)
                    await self._watcher.wait_until_wanted()
                await asyncio.sleep(INTERVAL)
                await self._look()
        finally:
            await self._disconnect()

    async def _look(self) -> None:
        oldest = next(iter(self._sent.values()), None)
        self._watcher.probing(0.0 if oldest is None else self._clock() - oldest)
        if not self._watcher.wants_probe() or len(self._sent) >= MOST:
            return
        channel = await self._connected()
        if channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            # A handshake is not queueing: until it is over, nothing is sent.
            self._tasks.spawn(self._probe(channel), "queue probe")

    async def _probe(self, channel: grpc.aio.Channel) -> None:
        number = secrets.randbits(64)
        call: Any = channel.unary_unary(PATH)
        self._sent[number] = self._clock()
        try:
            await call(number.to_bytes(8), timeout=LONGEST)
        except grpc.aio.AioRpcError:
            pass  # it has queued for too long, or the server stops
        finally:
            self._sent.pop(number, None)

    async def _connected(self) -> grpc.aio.Channel:
        """Return a channel that uses the current certificate."""
        credentials = self._identity.current if self._identity is not None else None
        if self._channel is None or credentials is not self._credentials:
            await self._disconnect()
            self._channel, self._credentials = self._open(credentials), credentials
        return self._channel

    def _open(self, credentials: Credentials | None) -> grpc.aio.Channel:
        options: Sequence[tuple[str, int | str]] = (
            ("grpc.ssl_target_name_override", self._server_name),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
        )
        if credentials is None:
            return grpc.aio.insecure_channel(self._target, options)
        return grpc.aio.secure_channel(self._target, credentials.channel_credentials(), options)

    async def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()


def loopback(address: str, port: int) -> str:
    """Return the address at which this process reaches itself.

    Args:
        address: The address that it listens on; the host may be `0.0.0.0` or `[::]`.
        port: The actual port.
    """
    host = address.rpartition(":")[0]
    reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host)
    return f"{reached}:{port}"
