"""Channels whose methods are functions of the test."""

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from typing import Any

import grpc
from grpc.aio import AioRpcError, Metadata

#: By `order/CreateOrder`: from the request (or requests) and the metadata to a response, or a list of them.
Answers = Mapping[str, Callable[..., Any]]


def failure(code: grpc.StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details="as the test wants it")


class FakeCall:
    """Of any kind. An answer that is an error is raised; a list of responses may end in one."""

    endpoint, attempts = "127.0.1.1:50051", 1

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.cancelled = False

    def cancel(self) -> bool:
        self.cancelled = True
        return True

    async def trailing_metadata(self) -> Any:
        return ()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._one().__await__()

    async def _one(self) -> Any:
        answer = await self._answer if inspect.isawaitable(self._answer) else self._answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def __aiter__(self) -> AsyncIterator[Any]:
        for each in self._answer if isinstance(self._answer, list) else [self._answer]:
            if isinstance(each, Exception):
                raise each
            yield each


class FakeChannels:
    """A `ChannelSource`. Remembers the calls, as `order/CreateOrder` with request and metadata."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.calls: list[tuple[str, Any, Any]] = []

    def __call__(self, target: str) -> Any:
        return _FakeChannel(self, target)

    def made(self, name: str) -> list[Any]:
        """The requests of a method's calls."""
        return [request for called, request, _ in self.calls if called == name]

    def answer(self, name: str, request: Any, metadata: Any) -> FakeCall:
        self.calls.append((name, request, metadata))
        return FakeCall(self._answers[name](request, metadata))


class _FakeChannel:
    def __init__(self, channels: FakeChannels, target: str) -> None:
        self._channels, self._target = channels, target

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Any:
        name = f"{self._target}/{path.rpartition('/')[2]}"

        def call(request: Any, *, metadata: Any = (), timeout: float | None = None) -> FakeCall:
            return self._channels.answer(name, request, metadata)

        return call

    unary_stream = stream_unary = stream_stream = unary_unary
