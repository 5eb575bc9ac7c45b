"""A connection that carries the calls of threads: a native synchronous channel, and an asynchronous one.

The synchronous channel carries the calls, and its state is the state of the connection. The asynchronous
channel carries the watches of health and load, which would need a thread each on a synchronous one.
"""

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc

from grpcmesh.client.connection import Connection
from grpcmesh.client.options import Option
from grpcmesh.tasks import in_thread

_IDLE, _READY = grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.READY
_SHUTDOWN = grpc.ChannelConnectivity.SHUTDOWN
#: Seconds that gRPC's threads may need to report a state that a failed call shows already.
_REPORTED = 0.05
#: The most seconds for which the end of gRPC's thread is waited for. It looks every 0.2 s whether to end.
_ENDED = 10.0


class ThreadsafeEvent(asyncio.Event):
    """An event of the running loop that any thread may set."""

    def __init__(self) -> None:
        super().__init__()
        self._of = asyncio.get_running_loop()

    def set(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed, and nobody waits
            self._of.call_soon_threadsafe(super().set)


class PairedChannel:
    """The two native channels to one endpoint, with the methods of `grpc.aio.Channel` that the mesh uses.

    gRPC tells the state of a synchronous channel only to subscribers, in threads of its own. One of them
    polls the channel as long as there are subscribers, and raises ValueError if the channel is closed before
    it has ended.

    Args:
        calls: Carries the calls.
        watches: Carries the watches.
    """

    def __init__(self, calls: grpc.Channel, watches: grpc.aio.Channel) -> None:
        self.calls, self._watches = calls, watches
        self._loop = asyncio.get_running_loop()
        self._state = grpc.ChannelConnectivity.CONNECTING
        self._turned = threading.Condition()
        self._change = asyncio.Event()
        before = set(threading.enumerate())
        calls.subscribe(self._on_state, try_to_connect=True)
        #: gRPC's thread, and perhaps others of gRPC that began at the same moment: nothing tells which it is.
        self._pollers = [t for t in threading.enumerate() if t not in before and t.name.endswith("(_run)")]

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        if try_to_connect and self._state is _IDLE:  # else gRPC connects by itself
            # There is no other way to ask for it.
            self.calls.subscribe(_ignore, try_to_connect=True)
            self.calls.unsubscribe(_ignore)
        return self._state

    def is_ready(self) -> bool:
        """Return whether the calls have a connection. Waits a moment for the report that it has broken."""
        with self._turned:
            return not self._turned.wait_for(lambda: self._state is not _READY, _REPORTED)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        while self._state is last_observed_state:
            self._change.clear()
            await self._change.wait()

    def unary_stream(self, *arguments: Any, **more: Any) -> Any:
        """Return a multi-callable of the channel for watches."""
        return self._watches.unary_stream(*arguments, **more)

    async def close(self) -> None:
        """Close both. Calls under way end with CANCELLED."""
        self._on_state(_SHUTDOWN)
        self.calls.unsubscribe(self._on_state)
        await in_thread(self._close)
        await self._watches.close()

    def _close(self) -> None:
        give_up = time.monotonic() + _ENDED
        for thread in self._pollers:
            thread.join(max(0.0, give_up - time.monotonic()))
        self.calls.close()

    def _on_state(self, state: grpc.ChannelConnectivity) -> None:
        with self._turned:
            if self._state is _SHUTDOWN:
                return
            self._state = state
            self._turned.notify_all()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._change.set)


class SyncConnection(Connection):
    """A connection whose attempts run in threads. All but `attempts` and `look` belongs to the event loop."""

    _event = ThreadsafeEvent

    def _open(
        self, uri: str, target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[Option]
    ) -> Any:
        watches = super()._open(uri, uri, credentials, options)
        # Not what instrumentation, such as OpenTelemetry's, has put in their place: it returns streams that
        # are generators, which cannot be cancelled and have no status. The mesh has traces of its own.
        if credentials:
            return PairedChannel(inspect.unwrap(grpc.secure_channel)(target, credentials, options), watches)
        return PairedChannel(inspect.unwrap(grpc.insecure_channel)(target, options), watches)

    def look(self) -> bool:
        """Return whether a server may have seen calls that were begun on this connection.

        Called in threads. The event loop learns of a broken connection from gRPC.
        """
        channel: Any = self.channel
        return self.machine.carries_calls if self.closed else channel.is_ready()


def _ignore(state: grpc.ChannelConnectivity) -> None:
    """Ignore a state: see `PairedChannel.get_state`."""
