"""The durable log of what admins did at the console: a line of JSON for each action's start and outcome.

The newest entries are in `actions.jsonl`, older ones in `actions.1.jsonl` and so on. When the oldest file is
deleted, an entry says how many entries it had.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")
#: Bytes after which a file is full, and the number of full files that are kept.
MAX_FILE, OLD_FILES = 1024 * 1024, 4
#: Seconds that reading or writing may take. A disk may hang, or another process may hold the lock.
PATIENCE = 30.0
#: The action of the entry that says what was dropped.
DROPPED = "log-dropped"


class Outcome(StrEnum):
    """How far an action got."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log: what an admin did."""

    at: float
    """Unix seconds."""
    id: str
    """The id of the action. The entries of one action have the same id."""
    who: str
    action: str
    """The name of the action, such as `kill`."""
    outcome: Outcome
    arguments: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""
    """What happened, in words."""

    def told(self) -> dict[str, Any]:
        """Return the entry as JSON's types."""
        return asdict(self)

    def line(self) -> bytes:
        return json.dumps(self.told(), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """Return the entry of a line; None if the line is damaged, for example because the disk was full."""
        try:
            told = json.loads(line)
            return cls(**{**told, "at": float(told["at"]), "outcome": Outcome(told["outcome"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


class ActionLog:
    """Appends entries to the files of a directory, and reads them. Several processes may write.

    Args:
        directory: The directory. It is created at the first entry.
        max_file: Bytes after which a file is full.
        old_files: The number of full files that are kept, at least 1.
        echo: Called with the lines of each entry after they were written, in a thread of its own.
    """

    def __init__(
        self,
        directory: Path,
        max_file: int = MAX_FILE,
        old_files: int = OLD_FILES,
        echo: Callable[[bytes], None] | None = None,
    ) -> None:
        self._echo = echo
        self._directory, self._max_file, self._old_files = directory, max_file, old_files
        # One thread of its own: if the disk hangs, no thread that others need hangs with it.
        self._thread = ThreadPoolExecutor(1, "action-log")

    async def write(self, entry: Entry) -> None:
        """Append an entry. It is on the disk when this returns.

        Raises:
            OSError: it cannot be written, or was not within `PATIENCE` seconds. It may then be written later.
        """
        await self._in_time(self._write, entry)

    async def read(self, most: int) -> Sequence[Entry]:
        """Return the last `most` entries, the newest first. Lines that are not entries are left out.

        Raises:
            OSError: they cannot be read, or were not within `PATIENCE` seconds.
        """
        return await self._in_time(self._read, most)

    async def _in_time(self, work: Callable[[_T], _R], argument: _T) -> _R:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work, argument)
        except TimeoutError:
            raise OSError(f"the disk did not answer within {PATIENCE:g} s") from None

    def _write(self, entry: Entry) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            lines = entry.line()
            if self._size() + len(lines) > self._max_file:
                lines = self._rotate(entry.at) + lines
            self._append(lines)
        if self._echo:
            self._echo(lines)

    def _append(self, lines: bytes) -> None:
        path = self._path(0)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(fd, "r+b", buffering=0) as file:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":  # the disk was full, or the machine went down
                lines = b"\n" + lines
            if file.write(lines) != len(lines):
                raise OSError(f"only a part of the entry could be written to {path}")
            os.fsync(fd)
        if not size:
            _sync_directory(self._directory)

    def _rotate(self, at: float) -> bytes:
        """Make room for a new file. Return the line that says what was dropped; empty if nothing was."""
        oldest = self._path(self._old_files)
        dropped = _entries(oldest)
        for number in range(self._old_files - 1, -1, -1):
            if self._path(number).exists():
                self._path(number).replace(self._path(number + 1))
        if not dropped:
            return b""
        about = {"entries": len(dropped), "until": dropped[-1].at}
        words = f"The {len(dropped)} oldest entries were dropped to make room"
        return Entry(at, "", "console", DROPPED, Outcome.DONE, about, words).line()

    def _read(self, most: int) -> list[Entry]:
        found: list[Entry] = []
        if not self._directory.exists():
            return found
        with self._locked():
            for number in range(self._old_files + 1):
                if len(found) < most:
                    found.extend(reversed(_entries(self._path(number))))
        return found[:most]

    def _size(self) -> int:
        try:
            return self._path(0).stat().st_size
        except FileNotFoundError:
            return 0

    def _path(self, number: int) -> Path:
        return self._directory / (f"actions.{number}.jsonl" if number else "actions.jsonl")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _entries(path: Path) -> list[Entry]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [entry for line in lines if (entry := Entry.parse(line)) is not None]


def _sync_directory(directory: Path) -> None:
    """Sync the directory, so that the name of a new file is durable, too."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
