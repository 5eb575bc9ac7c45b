"""Keeps the log files bounded."""

import asyncio
import shutil
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
_PERIOD = 5.0


def trim(log: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Move the content of a log that has grown too long to `NAME.log.1`, replacing older content there.

    The file is copied and truncated, not renamed, because a process has it open (for appending, so that it
    continues at the new end). Lines written in between are lost: the price of processes that do not manage
    their log files.

    Returns:
        Whether it was too long.
    """
    if log.stat().st_size <= max_bytes:
        return False
    older = log.with_name(log.name + ".1")
    try:
        shutil.copyfile(log, older)
    except OSError:
        older.unlink(missing_ok=True)  # the disk is full: bounding logs matters more than keeping old ones
    with log.open("r+b") as f:
        f.truncate(0)
    return True


async def keep_bounded(directory: Path, max_bytes: int = MAX_BYTES, period: float = _PERIOD) -> None:
    """Trim every log in a directory every `period` seconds, for ever."""
    while True:
        await asyncio.sleep(period)
        await asyncio.to_thread(_trim_all, directory, max_bytes)


def _trim_all(directory: Path, max_bytes: int) -> None:
    for log in directory.glob("*.log"):
        trim(log, max_bytes)


def tail(log: Path, count: int, most: int = 64 * 1024) -> list[str]:
    """Return the last lines of a log.

    Args:
        count: The most lines.
        most: The most bytes that are read of its end.

    Raises:
        OSError: it cannot be read.
    """
    with log.open("rb") as f:
        start = max(0, f.seek(0, 2) - most)
        f.seek(start)
        lines = f.read(most).decode("utf-8", "replace").split("\n")
    if start:
        del lines[0]  # only its end was read
    return [line for line in lines if line][-count:]


def last_lines(log: Path, count: int = 15) -> str:
    """Return the last `count` lines of a log, for an error message; empty if there is no log."""
    try:
        return "\n".join(tail(log, count))
    except OSError:
        return ""
