"""The context of a servicer: grpc's own, with checks so that each call is answered.

If details or trailing metadata cannot be encoded, or `abort` is called with OK, grpc.aio sends no answer at
all, and the caller waits until its deadline. Here bad metadata and `abort` with OK raise in the servicer
before grpc sees them, and the caller gets INTERNAL. Characters of details that cannot be encoded are
replaced.
"""

import re
from collections.abc import Iterable
from typing import Any, NoReturn

import grpc

from grpcmesh.call import ServerCall

Metadata = Iterable[tuple[str, str | bytes]]

_KEY = re.compile(r"[0-9a-z_.-]+", re.ASCII)
_VALUE = re.compile(r"[\x20-\x7e]*", re.ASCII)


class Context:
    """The context of a call with one response. It delegates to grpc's context what it does not check."""

    __slots__ = ("_context", "call")

    def __init__(self, call: ServerCall, context: Any) -> None:
        self.call, self._context = call, context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Behave as grpc's method. Raises ValueError for metadata that cannot be sent."""
        self._context.set_trailing_metadata(checked(trailing_metadata))

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Behave as grpc's method. Raises ValueError for metadata that cannot be sent."""
        await self._context.send_initial_metadata(checked(initial_metadata))

    def set_details(self, details: str) -> None:
        """Behave as grpc's method. Characters that cannot be encoded are replaced."""
        self._context.set_details(encodable(details))

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """Behave as grpc's method. Raises ValueError for OK, and for metadata that cannot be sent."""
        if code is grpc.StatusCode.OK:
            raise ValueError("a call cannot be aborted with OK")
        await self._context.abort(code, encodable(details), checked(trailing_metadata))
        raise AssertionError("abort returned")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Behave as `abort`."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())


def checked(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
    """Return the metadata as a tuple, after checking that gRPC can send it.

    Raises:
        ValueError: A key or a value is not of the form that the gRPC protocol allows.
    """
    items = tuple((key, value) for key, value in metadata or ())
    for key, value in items:
        if not isinstance(key, str) or not _KEY.fullmatch(key) or not _sendable(key, value):
            raise ValueError(f"metadata {key!r} cannot be sent: a wrong key, or a value that is not for it")
    return items


def encodable(text: str) -> str:
    """Return a text in which characters that UTF-8 cannot encode are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _sendable(key: str, value: object) -> bool:
    if key.endswith("-bin"):
        return isinstance(value, bytes)
    if isinstance(value, bytes):
        return _VALUE.fullmatch(value.decode("latin-1")) is not None
    return isinstance(value, str) and _VALUE.fullmatch(value) is not None
