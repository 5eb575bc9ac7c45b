"""The parts that calls share, made safe for threads: one lock guards all of them."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from grpcmesh.balancer import Balancer, Endpoint, LoadReport, State
from grpcmesh.client.core import Core, Timer
from grpcmesh.client.pool import Pool
from grpcmesh.client.sync.connection import SyncConnection, ThreadsafeEvent
from grpcmesh.client.sync.host import Host
from grpcmesh.service_config import LoadBalancing

Lock = threading.RLock


class LockedBalancer(Balancer):
    """A balancer whose endpoints the event loop changes while threads pick. Pickers hold the lock.

    Args:
        lock: The lock of the channel.
    """

    def __init__(self, lock: Any, *arguments: Any, **more: Any) -> None:
        self._lock = lock
        super().__init__(*arguments, **more)

    def configure(self, balancing: LoadBalancing | None) -> None:
        with self._lock:
            super().configure(balancing)

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        with self._lock:
            super().replace(endpoints)

    def set_state(self, endpoint: Endpoint, state: State, error: str = "") -> bool:
        with self._lock:
            return super().set_state(endpoint, state, error)

    def set_serving(self, endpoint: Endpoint, service: str, serving: bool) -> bool:
        with self._lock:
            return super().set_serving(endpoint, service, serving)

    def set_zone(self, endpoint: Endpoint, zone: str) -> None:
        with self._lock:
            super().set_zone(endpoint, zone)

    def reported(self, endpoint: Endpoint, report: LoadReport) -> None:
        with self._lock:
            super().reported(endpoint, report)

    def rotate(self) -> None:
        with self._lock:
            super().rotate()


class SyncPool(Pool):
    """A pool whose connections carry the calls of threads. Everything but `waiting` belongs to the loop."""

    _connection = SyncConnection

    def __init__(self, lock: Any, *arguments: Any, **more: Any) -> None:
        self._lock = lock
        super().__init__(*arguments, **more)

    def _wake(self) -> None:
        with self._lock:
            super()._wake()


class SyncCore(Core):
    """The state that the calls of one synchronous channel share.

    Args:
        lock: Guards the balancer, the layers, the budget and the machines of all calls.
        host: The event loop of the background work.
    """

    _event = ThreadsafeEvent

    def __init__(self, lock: Any, host: Host, *arguments: Any, **more: Any) -> None:
        self.lock, self.host = lock, host
        super().__init__(*arguments, **more)

    def _timers(self, loop: asyncio.AbstractEventLoop) -> Callable[[float, Callable[[], object]], Timer]:
        return self._timer

    def _timer(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return ThreadTimer(self.host, seconds, callback)


class ThreadTimer:
    """A timer of the event loop that any thread can start and cancel.

    Args:
        seconds: Time until `callback` is called, on the loop.
    """

    __slots__ = ("_callback", "_handle", "_host")

    def __init__(self, host: Host, seconds: float, callback: Callable[[], object]) -> None:
        self._host = host
        self._callback: Callable[[], object] | None = callback
        self._handle: asyncio.TimerHandle | None = None
        host.soon(self._arm, seconds)

    def cancel(self) -> None:
        self._callback = None
        if self._handle is not None:
            self._host.soon(self._handle.cancel)

    def _arm(self, seconds: float) -> None:
        if self._callback is not None:
            self._handle = self._host.loop.call_later(seconds, self._run)

    def _run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
