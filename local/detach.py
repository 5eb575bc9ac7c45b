"""Starts a supervisor that outlives the command that started it."""

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

from local.events import Event, Listener
from local.logs import last_lines
from local.options import Options
from local.state import StateDir


class Detached:
    """A supervisor in a session of its own. If its starter is interrupted before all is ready, it is stopped.

    Args:
        options: The options of the command line.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._state = StateDir(options.state_dir)

    def __enter__(self) -> Self:
        """Start the supervisor. Raises ClusterError if the state directory cannot be used."""
        self._state.prepare()
        read, write = os.pipe()
        with self._state.log("supervisor").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local.main", self._options.encode(), str(write)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[write],
                start_new_session=True,
            )
        os.close(write)
        self._events = os.fdopen(read, "rb")
        return self

    def follow(self, listener: Listener) -> int:
        """Pass on events until the cluster is ready or has failed. Return the exit status."""
        for line in self._events:
            event = Event.decode(line)
            listener(event)
            if event.kind == "ready":
                return 0
            if event.kind == "error":
                self._process.wait()
                return 1
        log = self._state.log("supervisor")
        listener(
            Event(
                "error", f"the supervisor ended before all was ready; see {log}", {"detail": last_lines(log)}
            )
        )
        return 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        if kind is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        else:
            self._process.returncode = self._process.poll() or 0  # it is meant to outlive this object
