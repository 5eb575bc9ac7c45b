"""What the supervisor tells while it works: to the terminal, through a pipe (`up --detach`), to its log."""

import datetime
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `step`: progress; `notice`: something unasked, such as a replica's crash; `ready`: everything is up,
    `data` is the status; `error`: it failed, `data["detail"]` says more.
    """

    kind: Literal["step", "notice", "ready", "error"]
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """One JSON line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "Event":
        return cls(**json.loads(line))


Listener = Callable[[Event], None]
Report = Callable[[str], None]
"""Takes one line of progress of one operation."""


class Journal:
    """The supervisor's log: a line for each event, with its time.

    Args:
        path: Appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> None:
        stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        # A full disk must not end the cluster for the sake of its diary.
        with suppress(OSError), self._path.open("a") as f:
            f.write(f"{stamp} {text}\n")
