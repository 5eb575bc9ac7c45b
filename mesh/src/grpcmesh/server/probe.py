"""How long calls queue in this process before their handlers run: found out by calling itself.

A server whose handlers burn CPU has its queue in C-core, before its port's calls are seen. The mesh's own
clients tell the timeout of a call, from which its age follows; for the calls of others a probe goes the same
way as they do: through the port, TLS and the accept loop, to a handler that does nothing.
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
#: Seconds between two probes, the probes that may queue at a time, and seconds after which one is given up.
INTERVAL, MOST, LONGEST = 0.1, 50, 10.0


class QueueProbe:
    """Probes while somebody wants it.

    Args:
        target: Where the server listens, such as `127.0.0.1:50051`.
        server_name: A name in its certificate.
        identity: None: plaintext.
        watcher: Says when to probe, and is told what comes of it.
        tasks: Owner of the probes under way.
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
        #: When the probes were sent that have not arrived, oldest first, by their number. Numbers are random:
        #: a peer that guessed one could hide the queue.
        self._sent: dict[int, float] = {}
        self._channel: grpc.aio.Channel | None = None
        self._credentials: Credentials | None = None

    @property
    def handler(self) -> Any:
        """Serves the probes, outside of all layers: what they cost is not queueing."""

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
        """Return a channel with the certificate in use."""
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
    """Return where a process reaches itself that listens at an address, `0.0.0.0:0` or `[::]:0` included."""
    host = address.rpartition(":")[0]
    reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host)
    return f"{reached}:{port}"
