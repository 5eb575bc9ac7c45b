"""The frames in which the conformance runner talks to a program: a length of four bytes, then a message."""

import asyncio
import struct
import sys
from typing import Any

_LENGTH = struct.Struct(">I")


async def stdin() -> asyncio.StreamReader:
    """Return a reader of this process's standard input."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    return reader


async def read(reader: asyncio.StreamReader, kind: Any) -> Any | None:
    """Return the next message of this kind, or None at the end of the input."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    except asyncio.IncompleteReadError:
        return None
    return kind.FromString(await reader.readexactly(length))


def write(message: Any) -> None:
    data = message.SerializeToString()
    sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
    sys.stdout.buffer.flush()
