"""Serializes request streams that the caller gives as an iterator."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from grpcmesh.client.attempt import NOTHING
from grpcmesh.client.machines import Status
from grpcmesh.hooks import let_through
from grpcmesh.tasks import cancelling

if TYPE_CHECKING:
    from grpcmesh.client.flight import Flight


def serialized_requests(requests: Any, flight: "Flight") -> AsyncIterator[bytes] | Iterator[bytes]:
    """Return an iterator over the requests as bytes, which counts each as it is sent.

    An iterator that raises ends its call with UNKNOWN, as in grpc's synchronous API. (grpc.aio would cancel
    the call, and its caller would get an unexpected `CancelledError`.)
    """
    if isinstance(requests, AsyncIterable):
        return _asynchronously(requests, flight)
    return _synchronously(requests, flight)


async def _asynchronously(requests: AsyncIterable[Any], flight: "Flight") -> AsyncIterator[bytes]:
    try:
        async for request in requests:
            data = flight.serialized(request)
            if data is NOTHING:
                return
            flight.call.sent += 1
            yield data
    except GeneratorExit:  # gRPC needs no more
        raise
    except BaseException as e:
        if isinstance(e, asyncio.CancelledError) and cancelling():
            raise  # by gRPC: the call is over
        _raised(e, flight)


def _synchronously(requests: Iterable[Any], flight: "Flight") -> Iterator[bytes]:
    try:
        for request in requests:
            data = flight.serialized(request)
            if data is NOTHING:
                return
            flight.call.sent += 1
            yield data
    except GeneratorExit:  # gRPC needs no more
        raise
    except BaseException as e:
        _raised(e, flight)


def _raised(error: BaseException, flight: "Flight") -> None:
    let_through(error)
    details = f"Exception iterating requests! {type(error).__name__}: {error}"
    flight.fail(Status(grpc.StatusCode.UNKNOWN, details, final=True, cause=error))
