"""Events of the supervisor: for the terminal, for a pipe (`up --detach`) and for its log."""

import datetime
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    """An event of the supervisor.

    `step` is progress. `notice` is something unrequested, such as a replica's crash. `ready` means that
    everything is up; `data` is the status. `error` means that it failed; `data["detail"]` has more lines.
    """

    kind: Literal["step", "notice", "ready", "error"]
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the event as one JSON line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "Event":
        return cls(**json.loads(line))


Listener = Callable[[Event], None]
Report = Callable[[str], None]
"""Called with each line of progress of one operation."""


class Journal:
    """The supervisor's log: a line for each event, with its time.

    Args:
        path: The file, to which lines are appended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> None:
        stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        # A full disk must not end the cluster because of its log.
        with suppress(OSError), self._path.open("a") as f:
            f.write(f"{stamp} {text}\n")
