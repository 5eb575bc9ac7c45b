"""The driver of one connection: a native channel that is kept connected and watched."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc

from grpcmesh.client.guard import Guard
from grpcmesh.client.machines import ConnectionMachine, Status
from grpcmesh.client.options import Option
from grpcmesh.client.watches import Wanted, Watches, WatchListener
from grpcmesh.tasks import Tasks

if TYPE_CHECKING:
    from grpcmesh.client.attempt import NativeAttempt

_READY = grpc.ChannelConnectivity.READY
_FAILURE = grpc.ChannelConnectivity.TRANSIENT_FAILURE
#: Seconds that asking why a connection fails may take.
_ASK = 1.0


class Connection:
    """A native channel to one endpoint.

    Args:
        uri: Address of the endpoint, such as `ipv4:127.0.1.1:50051`.
        credentials: TLS credentials. If None, the connection is plaintext.
        options: Channel arguments; see `grpcmesh.client.options`.
        tasks: Owns the tasks that run while it is connected.
        wanted: What to watch at the server. If that includes its health, the connection counts as ready only
            once the server says that it serves.
        listener: Receives what the server reports about itself, other than its health.
        on_change: Called after each event that changed `machine`.
        guard: Checks the certificates. None if the connection is plaintext.
        on_refused: Called with the reason when the certificates are refused. The connection does not
            reconnect after that.
    """

    #: Makes the event that `drain` waits for.
    _event: type[asyncio.Event] = asyncio.Event

    def __init__(
        self,
        uri: str,
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[Option],
        tasks: Tasks,
        wanted: Wanted,
        listener: WatchListener,
        on_change: Callable[["Connection"], None],
        guard: Guard | None = None,
        on_refused: Callable[["Connection", str], None] = lambda connection, reason: None,
    ) -> None:
        self.guard, self._on_refused = guard, on_refused
        self._refused = False
        self.channel = self._open(uri, guard.target if guard else uri, credentials, options)
        self.machine = ConnectionMachine(wanted.health is not None)
        #: Attempts that run over it, oldest first.
        self.attempts: dict[NativeAttempt, None] = {}
        self.closed = False
        self._on_change, self._wanted = on_change, wanted
        self._watches = Watches(self.channel, tasks, self._on_health, self._on_error, listener)
        #: Set when the last attempt has ended. None unless `drain` waits for that.
        self.idle: asyncio.Event | None = None

    def _open(
        self, uri: str, target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[Option]
    ) -> grpc.aio.Channel:
        """Open the native channel. `target`: the URI in the form by which the guard finds the channel."""
        if credentials:
            return grpc.aio.secure_channel(target, credentials, options)
        return grpc.aio.insecure_channel(target, options)

    async def run(self) -> None:
        """Keep the native channel connected and follow its state, until cancelled, refused or closed."""
        while True:
            state = self.channel.get_state()
            if state is _READY and self.guard is not None:
                await self.guard.admit()
                self.check()
            if self._refused:
                return
            self._note(state)
            if state is grpc.ChannelConnectivity.SHUTDOWN:
                return
            if state is _FAILURE:
                await self._ask_why()
            if state is _READY:
                self._watches.follow(self._wanted)
            try:
                await self._changed(state)
            finally:
                self._watches.stop()

    async def _changed(self, state: grpc.ChannelConnectivity) -> None:
        """Connect, and wait until the state is another than this one.

        It is told to connect in the loop's next turn, when the wait has begun. Otherwise a connection that is
        made and lost in between, as by a server that limits their age, leaves the state as it was: nothing
        would wake this task, and nothing would connect again.
        """
        asyncio.get_running_loop().call_soon(self.channel.get_state, True)
        await self.channel.wait_for_state_change(state)

    def follow(self, wanted: Wanted) -> None:
        """Change what is watched at the server."""
        self._wanted = wanted
        self._tell(self.machine.watch(wanted.health is not None))
        if self.machine.connected:
            self._watches.follow(wanted)

    def look(self) -> bool:
        """Return whether a server may have seen calls that were begun on this connection.

        Asks gRPC for the state at this moment: the event loop may not have reported a disconnect yet.
        """
        if self.closed or self.channel.get_state() is _READY:
            return self.machine.carries_calls
        self._tell(self.machine.on_disconnected())
        return False

    def check(self) -> None:
        """Check that the certificates are still accepted. If they are not, `on_refused` is called, once."""
        if self.guard is None or self._refused or self.closed:
            return
        if refusal := self.guard.refusal():
            self._refused = True
            self._on_refused(self, refusal)

    def retire(self) -> None:
        """Stop using the connection for new calls."""
        self.machine.retire()

    async def drain(self, timeout: float | None, reason: str) -> bool:
        """Wait for the attempts under way, then close the connection. Return whether all had ended.

        Args:
            timeout: Seconds to wait at most; None waits without a bound.
            reason: Sent to the callers of attempts that are cut, as the details of UNAVAILABLE.
        """
        self.idle = self._event()
        if self.attempts:
            try:
                async with asyncio.timeout(timeout):
                    await self.idle.wait()
            except TimeoutError:
                pass
        finished = all(attempt.answered for attempt in tuple(self.attempts))
        await self.close(reason)
        return finished

    def cut(self, reason: str) -> None:
        """End the attempts under way with UNAVAILABLE and this reason. Their calls may be retried."""
        for attempt in tuple(self.attempts):
            if not attempt.answered:
                attempt.abandon(Status(grpc.StatusCode.UNAVAILABLE, reason))

    async def refuse(self, reason: str) -> None:
        """Disconnect for good because a certificate was refused.

        The endpoint counts as failed until it has another connection.
        """
        self.closed = True
        changed = self.machine.on_failed()
        self._tell(self.machine.on_error(reason) or changed)
        self.cut(reason)
        await self._disconnect()

    async def close(self, reason: str) -> None:
        """Close the connection at once. `reason` is as for `drain`."""
        self.closed = True
        self.machine.close()
        self.cut(reason)
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self.guard is not None:
            self.guard.forget()
        await self.channel.close()

    def _note(self, state: grpc.ChannelConnectivity) -> None:
        if state is _READY:
            self._tell(self.machine.on_connected())
        elif state is _FAILURE:
            self._tell(self.machine.on_failed())
        else:
            self._tell(self.machine.on_disconnected())

    def _on_health(self, serving: bool) -> None:
        self._tell(self.machine.on_health(serving))

    def _on_error(self, error: str) -> None:
        if self.guard is not None:
            error = self.guard.explain(error, unanswered=self.machine.unanswered)
        self._tell(self.machine.on_error(error))

    def _tell(self, changed: bool) -> None:
        if changed:
            self._on_change(self)

    async def _ask_why(self) -> None:
        """Make a call to learn why the connection failed: gRPC gives the reason only to calls."""
        watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
        watch = self.channel.unary_stream("/grpc.health.v1.Health/Watch")
        call = watch(b"", timeout=_ASK)
        try:
            async with asyncio.timeout(_ASK):
                if await call.code() is grpc.StatusCode.UNAVAILABLE:
                    self._on_error(await call.details())
        except TimeoutError:
            pass
        finally:
            call.cancel()

    def __repr__(self) -> str:
        return f"<Connection {self.machine!r} in_flight={len(self.attempts)}>"
