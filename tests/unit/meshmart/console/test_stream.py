"""Frames compressed once for all: what a viewer's decompressor makes of them."""

import zlib

import pytest

from meshmart.console.hub import Hub
from meshmart.console.stream import _GZIP, accepts_gzip, packed


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("br, gzip; q=0.0", False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(header: str, takes: bool) -> None:
    assert accepts_gzip(header) is takes


def test_pieces_stand_alone_so_that_a_viewer_may_miss_some() -> None:
    pieces = {n: packed(b"data: %d %s\n\n" % (n, b"same words " * 50)) for n in range(5)}
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(_GZIP) == b""
    for n in (0, 1, 4):  # it missed two
        assert reader.decompress(pieces[n]) == b"data: %d %s\n\n" % (n, b"same words " * 50)
    assert not reader.eof


def test_a_frame_is_packed_once_however_many_watch() -> None:
    hub, calls = Hub(), []

    def pack(text: bytes) -> bytes:
        calls.append(text)
        return b"packed " + text

    for number in (1, 2):
        hub.publish(b"frame")
        with hub.viewer(), hub.viewer():
            sent = {hub.packed_event(pack) for _ in range(20)}
        assert sent == {b"packed id: %d\ndata: frame\n\n" % number}
    assert len(calls) == 2
