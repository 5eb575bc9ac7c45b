"""Streams the frames as server-sent events, compressed once for all viewers."""

import asyncio
import zlib

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from meshmart.console.hub import FullError, Hub
from services.kit.streaming import disconnected, first_of

#: Milliseconds after which a browser that lost the stream reconnects.
_RETRY = 1000
#: The header of a gzip stream: https://www.rfc-editor.org/rfc/rfc1952#section-2.3. The stream never ends.
_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
#: The fastest level: a frame of 3,000 replicas takes some milliseconds, and shrinks to a ninth.
_LEVEL = 1


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client takes gzip, by its `accept-encoding` header."""
    names = (part.partition(";") for part in accept_encoding.lower().split(","))
    return any(name.strip() == "gzip" and "".join(q.split()) not in ("q=0", "q=0.0") for name, _, q in names)


def packed(text: bytes) -> bytes:
    """Compress a piece of a stream so that it does not depend on the pieces before it.

    Pieces that end at a full flush can be joined in any order, so all streams can be made of the same pieces,
    even if a slow viewer misses some of them.
    """
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(text) + compressor.flush(zlib.Z_FULL_FLUSH)


class FrameStream(Response):
    """The frames as server-sent events (https://html.spec.whatwg.org/#server-sent-events).

    `send` waits while the browser does not read; it then gets the newest frame, not those that it missed.

    Args:
        hub: Where the frames come from.
        closing: Set when the process ends.
        gzip: Whether the client takes gzip.
    """

    def __init__(self, hub: Hub, closing: asyncio.Event, gzip: bool = False) -> None:
        headers = {"x-accel-buffering": "no", "vary": "accept-encoding"}
        if gzip:
            headers["content-encoding"] = "gzip"
        super().__init__(media_type="text/event-stream", headers=headers)
        del self.headers["content-length"]
        self._hub, self._closing, self._gzip = hub, closing, gzip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._hub.viewer() as viewer:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                retry = b"retry: %d\n\n" % _RETRY
                await _say(send, _GZIP + packed(retry) if self._gzip else retry)

                async def push() -> None:
                    while True:
                        await viewer.next()
                        await _say(send, self._hub.packed_event(packed) if self._gzip else self._hub.event)

                await first_of(push(), disconnected(receive), self._closing.wait())
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except FullError:
            refused = PlainTextResponse("too many pages are open\n", 503, {"retry-after": "10"})
            await refused(scope, receive, send)


async def _say(send: Send, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})
