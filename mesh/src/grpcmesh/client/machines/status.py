"""The status of a call or an attempt that failed."""

from collections.abc import Iterable
from typing import Any

import grpc


class Status:
    """A status other than OK.

    Args:
        code: Status code, not OK.
        details: Description for people.
        initial: Initial metadata, as the server sent it.
        trailing: Trailing metadata, as the server sent it.
        debug: gRPC's debug error string.
        unsent: Whether no server has seen the attempt. Then a retry is safe for any method.
        final: Whether a retry is useless, because the failure lies on this side.
        local: Whether the caller cancelled the call or closed the channel.
        cause: The exception that caused the failure.
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
