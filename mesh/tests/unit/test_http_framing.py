"""What the strict connection accepts as a request, byte by byte."""

import contextlib

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.http.framing import StrictConnection

HOST = b"Host: shop.test\r\n"
GOOD = {
    "a page": b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a form": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\na=b",
    "chunks": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "a port": b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    "IPv6": b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
}
SMUGGLED = {
    "length and coding": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "twice the same length": b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": b"Content-Length: +3\r\n\r\nabc",
    "a negative length": b"Content-Length: -3\r\n\r\nabc",
    "a length in hex": b"Content-Length: 0x3\r\n\r\nabc",
    "no length": b"Content-Length: \r\n\r\n",
    "a folded line": b"Content-Length:\r\n 3\r\n\r\nabc",
    "a folded field": b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n",
    "a space before the colon": b"Content-Length : 3\r\n\r\nabc",
    "a bare LF": b"X-A: b\nContent-Length: 3\r\n\r\nabc",
    "a bare CR": b"X-A: b\rContent-Length: 3\r\n\r\nabc",
    "LF as the end": b"X-A: b\r\n\n",
    "NUL in a field": b"X-A: \0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n",
    "coding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab in the coding": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk that has no size": b"Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "a chunk size that is negative": b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with 0x": b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk that is longer": b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "a chunk that ends with LF": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
    "an end with LF": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n",
    "a chunk extension": b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
    "a space after a chunk size": b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "a bare CR in a chunk size": b"Transfer-Encoding: chunked\r\n\r\n3;\rx\r\nabc\r\n0\r\n\r\n",
    "a trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
    "a second host": HOST + b"\r\n",
    "a field without a name": b": x\r\n\r\n",
    "no field": b"abc\r\n\r\n",
}


def events(data: bytes, pieces: int = 1, max_body: int = 1000) -> list[object]:
    """Return the events of these bytes when they arrive in `pieces` pieces."""
    connection, found = StrictConnection(1000, max_body), []
    size = max(1, -(-len(data) // pieces))
    for start in range(0, len(data), size):
        connection.receive_data(data[start : start + size])
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            found.append(event)
    return found


@pytest.mark.parametrize("pieces", [1, 3, 1000])
@pytest.mark.parametrize("request_", GOOD.values(), ids=GOOD.keys())
def test_what_clients_send_is_taken(request_: bytes, pieces: int) -> None:
    found = events(request_, pieces)
    assert isinstance(found[0], h11.Request)
    assert isinstance(found[-1], h11.EndOfMessage)


@pytest.mark.parametrize("pieces", [1, 3, 1000])
@pytest.mark.parametrize("fields", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_what_two_servers_could_read_differently_is_refused(fields: bytes, pieces: int) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        events(b"POST / HTTP/1.1\r\n" + HOST + fields, pieces)


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        events(head)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 1000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 1500, 431),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 18 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"
            + b"a" * 1001
            + b"\r\n0\r\n\r\n",
            413,
        ),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 999,
            413,
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_is_too_much_is_answered_with_its_status(request_: bytes, status: int) -> None:
    connection = StrictConnection(1000, 1000)
    connection.receive_data(request_)
    with pytest.raises(h11.RemoteProtocolError):
        _ = [connection.next_event() for _ in range(10_000)]
    assert connection.status == status


def test_the_next_request_on_a_connection_is_checked_as_well() -> None:
    connection = StrictConnection(1000, 1000)
    connection.receive_data(GOOD["a page"] + b"POST / HTTP/1.1\r\n" + HOST + SMUGGLED["length and coding"])
    assert isinstance(connection.next_event(), h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
    assert connection.head_begun
    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()


@given(st.binary(max_size=300), st.integers(1, 10))
def test_any_bytes_are_a_request_or_an_error(data: bytes, pieces: int) -> None:
    for start in (data, b"GET / HTTP/1.1\r\n" + data, b"POST / HTTP/1.1\r\n" + HOST + data):
        with contextlib.suppress(h11.RemoteProtocolError):
            events(start, pieces)
