"""How a call or an attempt ended, where it did not end well."""

from collections.abc import Iterable
from typing import Any

import grpc


class Status:
    """A status other than OK.

    Args:
        code: Of the failure.
        details: For a person.
        initial: Initial metadata, as the server sent it.
        trailing: Trailing metadata, as the server sent it.
        debug: What gRPC adds for its developers.
        unsent: No server has seen the attempt, so a retry is harmless whatever the method does.
        final: A retry is out of the question: the failure lies on this side.
        local: The caller cancelled the call or closed the channel.
        cause: The exception behind it.
    """

    __slots__ = ("cause", "code", "debug", "details", "final", "initial", "local", "trailing", "unsent")

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        *,
        initial: Iterable[Any] = (),
        trailing: Iterable[Any] = (),
        debug: str = "",
        unsent: bool = False,
        final: bool = False,
        local: bool = False,
        cause: BaseException | None = None,
    ) -> None:
        self.code, self.details, self.debug, self.cause = code, details, debug, cause
        self.initial, self.trailing = initial, trailing
        self.unsent, self.final, self.local = unsent, final, local

    def __repr__(self) -> str:
        return f"<{self.code.name}: {self.details}>"
