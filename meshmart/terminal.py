"""Shows the supervisor's events to a person: one line each, with the seconds since the start."""

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from local.events import Event


class Terminal:
    """The output of `meshmart up`. On a terminal it shows an activity indicator below the lines.

    Args:
        hint: How to stop the cluster.
    """

    def __init__(self, hint: str) -> None:
        self._hint = hint
        self._out = Console(soft_wrap=True, highlight=False)
        self._started = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._status = self._out.status("starting the shop")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quiet()

    def show(self, event: Event) -> None:
        """Print an event. If the terminal has gone, the cluster runs on."""
        with suppress(OSError):
            self._show(event)

    def _show(self, event: Event) -> None:
        seconds = time.monotonic() - self._started
        match event.kind:
            case "step":
                self._out.print(f"[dim]{seconds:6.1f} s[/]  {escape(event.text)}")
            case "notice":
                self._out.print(f"[dim]{time.strftime('%H:%M:%S')}[/]  [yellow]{escape(event.text)}[/]")
            case "ready":
                self._quiet()
                self._welcome(event, seconds)
            case "error":
                self._quiet()
                _fail(event)

    def _welcome(self, event: Event, seconds: float) -> None:
        self._out.print(f"\n[bold green]The shop is open[/] after {seconds:.1f} s: [bold]{event.text}[/]\n")
        for name in ("console", "traces", "prometheus"):
            if event.data.get(name):
                self._out.print(f"  {name:<11} {event.data[name]}")
        self._out.print(f"  {'status':<11} meshmart status")
        self._out.print(f"  {self._hint}\n")

    def _quiet(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def _fail(event: Event) -> None:
    if event.data.get("detail"):
        sys.stderr.write(event.data["detail"].rstrip() + "\n")
    sys.stderr.write(f"meshmart: {event.text}\n")
