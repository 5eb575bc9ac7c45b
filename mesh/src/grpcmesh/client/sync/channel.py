"""SyncChannel: a `grpc.Channel` to a service, over all of its replicas. Stubs run on it unchanged."""

import random
import threading
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
from prometheus_client import Metric

from grpcmesh import forking
from grpcmesh.call import Kind, Method
from grpcmesh.client.channel import MeshChannel
from grpcmesh.client.parts import Parts
from grpcmesh.client.spec import Deserializer, Serializer
from grpcmesh.client.sync import callables
from grpcmesh.client.sync.callables import BlockingSpec, SyncSpec
from grpcmesh.client.sync.host import Host
from grpcmesh.client.sync.locked import LockedBalancer, SyncCore, SyncPool
from grpcmesh.config import MeshConfig
from grpcmesh.forking import ForkedProcessError
from grpcmesh.service_config import Effective

_CLOSED = "Cannot invoke RPC on closed channel!"


class LoopPart(MeshChannel):
    """The part of a synchronous channel that belongs to the event loop: all but the calls.

    Args:
        lock: Guards what the calls share.
        host: The event loop.
    """

    _core: SyncCore

    def __init__(self, lock: Any, host: Host, target: str, config: MeshConfig, **more: Any) -> None:
        self.lock = lock
        self._parts = Parts(
            partial(LockedBalancer, lock), partial(SyncPool, lock), partial(SyncCore, lock, host), SyncSpec
        )
        super().__init__(target, config, **more)

    @property
    def core(self) -> SyncCore:
        """Return the state that the calls share."""
        return self._core

    def inherited(self, error: ForkedProcessError) -> None:
        super().inherited(error)
        # A thread that does not exist in this process may have held the lock.
        self.lock = self._core.lock = threading.RLock()
        for flight in tuple(self._core.calls):
            flight.inherited(error)  # type: ignore[attr-defined]

    def _configure(self, effective: Effective) -> None:
        with self.lock:
            super()._configure(effective)

    def state(self) -> dict[str, Any]:
        with self.lock:
            return super().state()

    def collect(self) -> Iterable[Metric]:
        with self.lock:
            return super().collect()


class SyncChannel(grpc.Channel):
    """A `grpc.Channel` to all replicas of one target, for any number of threads.

    It starts with its first call, in the process that makes it: a channel that was made before a fork works
    in the child if it had not been started. When the channel, its stubs and its calls are no longer
    referenced, it closes itself.

    Args:
        target: See `MeshChannel`.
        config: Settings of the process.
        host: The event loop of the background work. If None, the channel has its own, in a thread.
        lock: A lock to share with other channels that use the same layers. It is held while hooks of layers
            run, which therefore must not block.
        more: Further arguments of `MeshChannel`, without `interceptors`: use `grpc.intercept_channel`.
    """

    def __init__(
        self,
        target: str,
        config: MeshConfig,
        *,
        host: Host | None = None,
        lock: Any = None,
        **more: Any,
    ) -> None:
        self._stops_host, self.host = host is None, host or Host()
        self._rng = more.setdefault("rng", None) or random.Random()
        more["rng"] = self._rng
        self.loop_part = LoopPart(lock or threading.RLock(), self.host, target, config, **more)
        self.core = self.loop_part.core
        self._starting = threading.Lock()
        self._started = self._closed = False
        self._inherited: ForkedProcessError | None = None
        self._watches: dict[Any, Any] = {}

    def inherited(self, error: ForkedProcessError) -> None:
        """Handle a fork: in the child process, every use of the channel raises this error."""
        self._inherited = error
        self.loop_part.inherited(error)

    def enter(self) -> None:
        """Start the channel if need be.

        Raises:
            ValueError: The channel is closed.
            IdentityError: There is no certificate.
            ForkedProcessError: The mesh was started in the parent of this process.
        """
        if self._inherited is not None:
            raise self._inherited
        if self._closed:
            raise ValueError(_CLOSED)
        with self._starting:
            if self._started:
                return
            forking.register(self)
            self._rng.seed()  # before the fork of several workers it was the same in all of them
            self.host.start()
            try:
                self.host.run(self.loop_part.start())
            except BaseException:
                if self._stops_host:
                    self.host.stop()
                raise
            self._started = True

    def close(self) -> None:
        """Close the channel at once: calls under way end with CANCELLED. Idempotent."""
        if self._inherited is not None:
            raise self._inherited
        with self._starting:
            closed, self._closed = self._closed, True
        if closed or not self._started:
            return
        self.host.run(self.loop_part.close())
        if self._stops_host:
            self.host.stop()

    async def aclose(self, grace: float) -> None:
        """Close the channel, on the loop of its host. Calls under way have `grace` seconds to end."""
        self._closed = True
        if self._started and self._inherited is None:
            await self.loop_part.close(grace)

    def __del__(self) -> None:
        # Absent where __init__ did not run.
        if getattr(self, "_started", False) and not self._closed and self._inherited is None:
            self.host.soon(_close_later, self.loop_part, self.host if self._stops_host else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """Call `callback` with the channel's state, now and at each change, in a thread of the mesh.

        The channel starts, and so connects, whatever `try_to_connect` says.
        """
        self.enter()
        self.host.soon(self._watch, callback)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Call `callback` no more."""
        self.host.soon(self._unwatch, callback)

    def state(self) -> dict[str, Any]:
        """Return the state that the admin page shows, as values that JSON can encode."""
        return self.loop_part.state()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this target."""
        return self.loop_part.collect()

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codec = (request_serializer, response_deserializer)
        blocking = self._spec(BlockingSpec, method, Kind.UNARY, codec, _registered_method)
        futures = self._spec(SyncSpec, method, Kind.UNARY, codec, _registered_method)
        return callables.UnaryUnary(self, blocking, futures)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codec = (request_serializer, response_deserializer)
        spec = self._spec(SyncSpec, method, Kind.SERVER_STREAM, codec, _registered_method)
        return callables.UnaryStream(self, spec)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codec = (request_serializer, response_deserializer)
        spec = self._spec(SyncSpec, method, Kind.CLIENT_STREAM, codec, _registered_method)
        return callables.StreamUnary(self, spec)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        codec = (request_serializer, response_deserializer)
        spec = self._spec(SyncSpec, method, Kind.BIDI_STREAM, codec, _registered_method)
        return callables.StreamStream(self, spec)

    def _spec(
        self, make: type[SyncSpec], path: str, kind: Kind, codec: tuple[Any, Any], generated: bool | None
    ) -> SyncSpec:
        if self._inherited is not None:
            raise self._inherited
        with self.loop_part.lock:
            spec = make(self.core, Method.parse(path, kind), *codec)
            self.loop_part.add(spec, generated)
        return spec

    def _watch(self, callback: Any) -> None:
        self._watches[callback] = self.core.tasks.spawn(self._tell(callback), "subscription")

    def _unwatch(self, callback: Any) -> None:
        if (task := self._watches.pop(callback, None)) is not None:
            task.cancel()

    async def _tell(self, callback: Any) -> None:
        channel = self.loop_part
        while True:
            state = channel.get_state()
            self.host.dispatch(callback, state)
            if state is grpc.ChannelConnectivity.SHUTDOWN:
                return
            await channel.wait_for_state_change(state)

    def __repr__(self) -> str:
        return f"<SyncChannel of {self.loop_part!r}>"


def _close_later(channel: LoopPart, host: Host | None) -> None:
    """Close a channel that was dropped, and stop its own host. Called on the loop."""
    task = channel.core.tasks.spawn(channel.close(), "close")
    if host is not None:
        task.add_done_callback(lambda task: task.cancelled() or channel.core.loop.stop())
