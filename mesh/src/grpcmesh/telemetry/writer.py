"""Writes lines in batches, to save system calls, and without waiting for a slow reader."""

import asyncio
import os
import select
import sys
import threading
import time
from collections import deque

#: Seconds that a line may be buffered.
FLUSH_AFTER = 0.05
#: Buffered bytes at which lines are written without waiting for `FLUSH_AFTER`.
FLUSH_AT = 32 * 1024
#: The most bytes buffered for a slow reader. Further lines are dropped and counted.
MAX_BUFFER = 1024 * 1024
#: POSIX: a write of up to this size to a pipe is not mixed with another process's,
#: and does not block when poll(2) says that the pipe is writable.
_PIPE_BUF = 4096


class LineWriter:
    """Buffers lines and writes them together.

    In a running event loop, lines wait for at most `FLUSH_AFTER` seconds. Elsewhere each is written at once.

    Args:
        fd: The file descriptor, usually that of standard error.

    Attributes:
        dropped: Number of lines that could not be written.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lines: deque[bytes] = deque()
        self._chunk = b""
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        # The standard library's logging may write from any thread.
        self._lock = threading.RLock()
        self.dropped = 0

    def write(self, line: str) -> None:
        """Add a line, without its newline. It is dropped if the buffer is full."""
        data = line.encode()
        with self._lock:
            if self._bytes + len(data) > MAX_BUFFER:
                self.dropped += 1
                return
            self._lines.append(data)
            self._bytes += len(data) + 1
            if self._bytes >= FLUSH_AT or not (self._timer is not None or self._schedule()):
                self.flush()

    def flush(self) -> None:
        """Write as much as the descriptor accepts without blocking."""
        with self._lock:
            while self._next_chunk() and self._poll.poll(0):
                self._write()

    def close(self, timeout: float = 1.0) -> None:
        """Write the rest, for at most `timeout` seconds. Blocks: do not call it on the event loop.

        Lines that are added later are written at once.
        """
        end = time.monotonic() + timeout
        self._end()
        while self._bytes and time.monotonic() < end:
            time.sleep(0.01)
            self.flush()

    async def aclose(self, timeout: float = 1.0) -> None:
        """Write the rest, for at most `timeout` seconds, without blocking the event loop.

        Lines that are added later are written at once.
        """
        end = time.monotonic() + timeout
        self._end()
        while self._bytes and time.monotonic() < end:
            await asyncio.sleep(0.01)
            self.flush()

    def _end(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()

    def _schedule(self) -> bool:
        """Schedule a flush. Return False if there is no event loop to run it, or the writer is closed."""
        if self._closed:
            return False
        try:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self._on_timer)
        except RuntimeError:
            return False
        return True

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
        if self._bytes:
            self._schedule()

    def _next_chunk(self) -> bool:
        """Make the next chunk from whole lines, if there is none. Return False if nothing is left."""
        if not self._chunk and self._lines:
            chunk = [self._lines.popleft()]
            size = len(chunk[0]) + 1
            while self._lines and size + len(self._lines[0]) < _PIPE_BUF:
                chunk.append(self._lines.popleft())
                size += len(chunk[-1]) + 1
            self._chunk = b"\n".join(chunk) + b"\n"
        return bool(self._chunk)

    def _write(self) -> None:
        try:
            written = os.write(self._fd, self._chunk[:_PIPE_BUF])
        except OSError:
            # The reader is gone or the disk is full, and there is no other place to say so.
            self.dropped += self._chunk.count(b"\n")
            written = len(self._chunk)
        self._chunk = self._chunk[written:]
        self._bytes -= written


def standard_error() -> LineWriter:
    """Return a writer to standard error, or to descriptor 2 if standard error is no real file."""
    try:
        return LineWriter(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return LineWriter(2)
