"""Strict HTTP/1.1 framing: refuses requests that another parser could read differently (RFC 9112, 11.2).

h11 is lenient where the RFC allows it: it prefers Transfer-Encoding over Content-Length, merges equal
Content-Length fields, unfolds folded lines and accepts a bare LF as a line's end. Each of these can be used
for request smuggling, that is, to hide a request from a proxy inside another one. No browser sends them.
"""

import re
from typing import Any

import h11

_DIGITS = re.compile(rb"[0-9]{1,18}")
#: RFC 3986, 3.2.2, without user information: a registered name or an IPv4 address, or an IPv6 address.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
#: The bytes allowed between the data of chunks. Extensions and trailers mean nothing to us, but may to
#: others.
_CHUNK_FRAMING = b"0123456789abcdefABCDEF\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")
#: The most framing bytes in one body, because chunks of one byte each cost far more than they carry.
_MAX_FRAMING = 4096


class Refused(h11.RemoteProtocolError):
    """Raised for a request that breaks a rule. `error_status_hint` is the status to answer with."""


class StrictConnection(h11.Connection):
    """A server's h11 connection that raises `Refused` for ambiguous requests that h11 would accept.

    Args:
        max_head: The most bytes of a request's line and fields.
        max_body: The most bytes of a request's body.

    Attributes:
        status: The status to answer with, once an error has been raised.
    """

    def __init__(self, max_head: int, max_body: int) -> None:
        super().__init__(h11.SERVER, max_head)
        self.status = 400
        self._max_head, self._max_body = max_head, max_body
        #: The bytes of the request so far, while its header is incomplete.
        self._head = bytearray()
        self._body = 0
        self._chunked = False
        #: The CR with which the framing bytes of chunks end so far, if any, and the number of framing bytes.
        self._open_line, self._framed = b"", 0

    @property
    def head_begun(self) -> bool:
        """Return whether the first byte of the next request has arrived, but not its whole header."""
        return self.their_state is h11.IDLE and bool(self._head)

    def receive_data(self, data: bytes) -> None:
        if self.their_state is h11.IDLE:
            self._head += data
        super().receive_data(data)

    def start_next_cycle(self) -> None:
        super().start_next_cycle()
        self._head = bytearray(self.trailing_data[0])

    def next_event(self) -> Any:
        chunked = self._chunked and self.their_state is h11.SEND_BODY
        before = self.trailing_data[0] if chunked else b""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._body += len(event.data)
                self._bound(self._body)
            if chunked:
                data = len(event.data) if isinstance(event, h11.Data) else 0
                self._check_chunks(before[: len(before) - len(self.trailing_data[0]) - data])
        except h11.RemoteProtocolError as e:
            self.status = e.error_status_hint
            raise
        return event

    def _begin(self, request: h11.Request) -> None:
        left = len(self.trailing_data[0])
        head = bytes(self._head[: len(self._head) - left])
        self._head.clear()
        if len(head) > self._max_head:  # h11 counts only what is incomplete
            raise Refused(f"the header is longer than {self._max_head} bytes", 431)
        fields = check_head(head, request.http_version)
        self._chunked = b"transfer-encoding" in fields
        self._open_line, self._framed = b"", 0
        self._body = 0
        self._bound(int(fields.get(b"content-length", b"0")))

    def _bound(self, size: int) -> None:
        if size > self._max_body:
            raise Refused(f"the body is longer than {self._max_body} bytes", 413)

    def _check_chunks(self, framing: bytes) -> None:
        """Check that the bytes between the chunks' data are only sizes and line ends. Raises Refused."""
        self._framed += len(framing)
        if framing.translate(None, _CHUNK_FRAMING) or _BARE_LF.search(self._open_line + framing):
            raise Refused("a chunk extension, a trailer field, or a line that ends without CR")
        if self._framed > _MAX_FRAMING:
            raise Refused("too many chunks", 413)
        if framing:
            self._open_line = b"\r" if framing.endswith(b"\r") else b""


def check_head(head: bytes, version: bytes) -> dict[bytes, bytes]:
    """Check the bytes of a header that h11 could parse.

    Args:
        head: The bytes from the request line to the empty line.
        version: The HTTP version, `1.1` or `1.0`.

    Returns:
        The fields `host`, `content-length` and `transfer-encoding`, by their names in lower case.

    Raises:
        Refused: Two parsers could disagree about the header.
    """
    lines = head.split(b"\n")
    if any(not line.endswith(b"\r") for line in lines[:-1]):
        raise Refused("a line ends without CR")
    fields: dict[bytes, bytes] = {}
    for line in lines[1:-2]:
        name, _, value = line.lower().partition(b":")
        if name[:1] in (b" ", b"\t"):
            raise Refused("a folded line")
        if name in (b"host", b"content-length", b"transfer-encoding"):
            if name in fields:
                raise Refused(f"more than one {name.decode()}")
            fields[name] = value.strip()
    _check_framing(fields, version)
    return fields


def _check_framing(fields: dict[bytes, bytes], version: bytes) -> None:
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if coding is not None and (length is not None or version != b"1.1"):
        raise Refused("Transfer-Encoding with Content-Length, or in HTTP/1.0")
    if length is not None and not _DIGITS.fullmatch(length):
        raise Refused("Content-Length is not a number")
    if not _HOST.fullmatch(fields.get(b"host", b"")):
        raise Refused("Host is not a host")
