"""Keeps a record of what admins do: in the durable log, and in the feed of the page."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshmart.console.action_log import ActionLog, Entry, Outcome
from meshmart.console.model import Event, Kind
from meshmart.console.refusal import RefusedError

#: The most entries of an answer.
MOST = 200


class Records:
    """Writes what admins do.

    Args:
        log: The durable log.
        tell: Adds an event to the feed.
        wall: Returns Unix seconds.
    """

    def __init__(self, log: ActionLog, tell: Callable[[Event], None], wall: Callable[[], float]) -> None:
        self.log, self._tell, self._wall = log, tell, wall

    async def begin(
        self, who: str, action: str, arguments: Mapping[str, Any], words: str, must: bool = True
    ) -> str:
        """Note, before an action is done, that somebody starts it. Return its id.

        Args:
            who: The admin.
            action: The action.
            arguments: Its arguments.
            words: What is about to be done, for a person.
            must: Whether the action must not be done if the log cannot be written.

        Raises:
            RefusedError: the log cannot be written, and `must` is set.
        """
        number = secrets.token_hex(6)
        entry = Entry(self._wall(), number, who, action, Outcome.STARTED, arguments, words)
        try:
            await self.log.write(entry)
        except OSError as e:
            if must:
                raise RefusedError(503, f"nothing was done, because the log cannot be written: {e}") from None
        self._tell(Event(Kind.INFO, words, str(arguments.get("service", ""))))
        return number

    async def end(
        self, number: str, who: str, action: str, arguments: Mapping[str, Any], problem: str, words: str
    ) -> None:
        """Note how an action ended.

        Args:
            number: What `begin` returned.
            who: The admin.
            action: The action.
            arguments: Its arguments.
            problem: Why it failed; empty if it succeeded.
            words: What happened, for a person.
        """
        outcome, kind = (Outcome.FAILED, Kind.BAD) if problem else (Outcome.DONE, Kind.GOOD)
        service = str(arguments.get("service", ""))
        self._tell(Event(kind, words, service))
        try:
            await self.log.write(Entry(self._wall(), number, who, action, outcome, arguments, words))
        except OSError as e:  # the action has been done, so the feed says that the log does not have it
            self._tell(Event(Kind.BAD, f"The log of actions cannot be written: {e}", ""))

    def say(self, words: str) -> None:
        """Add a line of progress to the feed only."""
        self._tell(Event(Kind.INFO, words, ""))

    async def note(self, who: str, action: str, words: str) -> None:
        """Note something that needs no second entry, such as a log-in."""
        await self.end(secrets.token_hex(6), who, action, {}, "", words)

    def routes(self) -> Sequence[Route]:
        """Return GET /api/log: the newest entries first; `most` says how many, at most `MOST`."""

        async def read(request: Request) -> Response:
            most = request.query_params.get("most", str(MOST))
            if not (most.isascii() and most.isdecimal() and len(most) < 6):
                return RefusedError(400, "most must be a number").response()
            try:
                entries = await self.log.read(min(int(most), MOST))
            except OSError as e:
                return RefusedError(503, f"the log cannot be read: {e}").response()
            return JSONResponse({"entries": [entry.told() for entry in entries]})

        return (Route("/api/log", read),)
