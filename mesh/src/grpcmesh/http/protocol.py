"""uvicorn's HTTP/1.1 protocol, with a deadline for each phase in which a client can be slow."""

import asyncio
import enum
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from grpcmesh.http.framing import StrictConnection
from grpcmesh.http.limits import HttpLimits, Registry
from grpcmesh.http.peers import MAX_PROXY_LINE, Proxies, normal, proxy_source

_PROXY = b"PROXY "


class Phase(enum.Enum):
    """The event that a connection waits for."""

    IDLE = enum.auto()  # the next request; uvicorn's own keep-alive timer runs
    HEAD = enum.auto()  # the rest of a request's header
    BODY = enum.auto()  # the rest of a request's body
    ANSWER = enum.auto()  # the application
    WRITE = enum.auto()  # the client, to take more of the answer
    CLOSING = enum.auto()  # the client, to read what was said last


#: Phases in which the server waits only for the client. Such connections may be closed to make room.
_EVICTABLE = frozenset({Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.WRITE, Phase.CLOSING})


class BoundedProtocol(H11Protocol):
    """An HTTP connection with deadlines and limits.

    Args:
        config: See uvicorn's protocol, also for `server_state` and `app_state`.
        limits: Times and sizes.
        registry: The open connections of the server.
        proxies: The proxies that may name their client in a line of the PROXY protocol.
    """

    conn: StrictConnection

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: HttpLimits,
        registry: Registry,
        proxies: Proxies,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = StrictConnection(limits.max_head, limits.max_body)
        self._limits, self._registry, self._proxies = limits, registry, proxies
        self._phase = Phase.HEAD
        self._timer: asyncio.TimerHandle | None = None
        self._address = ""
        #: The data so far, while it may still be a PROXY line; None otherwise.
        self._proxy_line: bytearray | None = None

    @property
    def evictable(self) -> bool:
        return self._phase in _EVICTABLE

    def evict(self) -> None:
        """Close the connection. It has left the registry already."""
        if self._phase in (Phase.HEAD, Phase.BODY):
            self._turn_away(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = get_remote_addr(transport)
        self._address = normal(peer[0]) if peer else ""
        exempt = peer is not None and peer[0] in self._proxies
        if exempt:
            self._proxy_line = bytearray()
        if not self._registry.enter(self, self._address, exempt=exempt):
            self._turn_away(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._arm(self._limits.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._registry.leave(self, self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.CLOSING:
            return  # a lingering close: what still comes is not looked at
        if self._proxy_line is not None:
            data = self._without_proxy_line(data)
        if data:
            super().data_received(data)
            self._follow()

    def handle_events(self) -> None:
        super().handle_events()
        self._follow()

    def send_400_response(self, msg: str) -> None:
        """Answer a refused request with the status that fits, and close."""
        self._refuse(HTTPStatus(self.conn.status))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def shutdown(self) -> None:
        """Handle the server's shutdown: close the connection, after the request under way if there is one."""
        if self._phase is not Phase.CLOSING and self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._follow()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._follow()

    def _follow(self) -> None:
        """Update the phase. If it has changed, set the deadline of the new phase."""
        phase = self._present()
        if phase is self._phase:
            return
        self._phase = phase
        self._disarm()
        limits = self._limits
        times = {
            Phase.HEAD: limits.head_timeout,
            Phase.BODY: limits.body_timeout,
            Phase.WRITE: limits.write_timeout,
            Phase.CLOSING: limits.close_timeout,
        }
        if phase in times:
            self._arm(times[phase])

    def _present(self) -> Phase:
        if self._phase is Phase.CLOSING or self.transport.is_closing():
            return Phase.CLOSING
        if self.flow.write_paused:
            return Phase.WRITE
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.conn.their_state is h11.IDLE:
            begun = self.conn.head_begun or self._phase is Phase.HEAD
            return Phase.HEAD if begun else Phase.IDLE
        return Phase.ANSWER

    def _arm(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._time_out)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        if self._phase in (Phase.HEAD, Phase.BODY):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif self._phase is Phase.IDLE:
            self.transport.close()
        else:
            self.transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer, unless the application has begun to, and close so that the client can read the answer.

        Closing a socket with unread input resets the connection, and then the client may never see the
        status. So only our half is closed, and input is read and dropped for a while (RFC 9112, 9.6).
        """
        self._say(status)
        self.flow.resume_reading()
        self._disarm()
        self._phase = Phase.CLOSING
        self._arm(self._limits.close_timeout)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _turn_away(self, status: HTTPStatus) -> None:
        """Refuse a connection for which there is no room."""
        if self._registry.linger(self):
            self._refuse(status)
        else:
            self.transport.abort()

    def _say(self, status: HTTPStatus) -> None:
        """Send the last response of this connection, and tell the application that its client has gone."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_answer(status))
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self._unset_keepalive_if_required()

    def _without_proxy_line(self, data: bytes) -> bytes:
        """Return the data after the PROXY line, or all of it if there is none."""
        assert self._proxy_line is not None
        self._proxy_line += data
        seen = bytes(self._proxy_line)
        line, end, rest = seen.partition(b"\r\n")
        if seen.startswith(_PROXY) and not end and len(seen) <= MAX_PROXY_LINE:
            return b""
        if _PROXY.startswith(seen):
            return b""
        self._proxy_line = None
        if not seen.startswith(_PROXY):
            return seen
        source = proxy_source(line + end)
        if source is None:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return b""
        if source:
            self._speak_for(source)
        return rest

    def _speak_for(self, source: str) -> None:
        """Assign the connection to the proxy's client, whose limits apply from now on."""
        self._registry.leave(self, self._address)
        self._address, self.client = source, (source, 0)
        if not self._registry.enter(self, source, exempt=source in self._proxies):
            self._turn_away(HTTPStatus.SERVICE_UNAVAILABLE)


def _answer(status: HTTPStatus) -> bytes:
    body = f"{status.phrase}\n".encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
    retry = "retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    return f"{head}{retry}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
