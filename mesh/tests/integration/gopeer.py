"""Servers and clients made with Go's gRPC library: see `goserver/main.go`."""

import functools
import tempfile
from pathlib import Path

from tests import gotools
from tests.integration.peers import Peer

SOURCE = Path(__file__).parent / "goserver"


@functools.cache
def binary() -> Path:
    """Build the program once in a test run."""
    return gotools.build(SOURCE, Path(_directory().name) / "goserver")


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="goserver")  # removed when the interpreter ends


PEER = Peer(lambda: [str(binary())])
serving, call = PEER.serving, PEER.call
