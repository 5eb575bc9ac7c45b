"""The code that a served call counts as."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from grpcmesh.call import Kind, Method, ServerCall
from grpcmesh.server import outcome

METHOD = Method("/shop.Orders/Get", "shop.Orders", "Get", Kind.UNARY)
LATE, LEFT = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED


@pytest.mark.parametrize(
    ("timeout", "early", "code"),
    [
        (2.0, 0.0, LATE),
        (2.0, 0.09, LATE),  # the request waited so long before the server began to count
        (2.0, 0.11, LEFT),
        (0.1, 0.019, LATE),
        (0.1, 0.021, LEFT),
        (60.0, 0.49, LATE),
        (60.0, 0.51, LEFT),
        (100.0, 0.51, LEFT),
        (151.0, 0.9, LATE),  # gRPC sends 150.1 s as 151 s,
        (151.0, 2.1, LEFT),
        (3610.0, 10.0, LATE),  # and 3600 s as 3610 s
        (3610.0, 37.0, LEFT),
    ],
)
def test_a_cancellation_shortly_before_the_deadline_counts_as_caused_by_it(
    timeout: float, early: float, code: grpc.StatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = None
    call = ServerCall(METHOD, context, 100.0, {}, deadline=100.0 + timeout)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + timeout - early)
    assert outcome.code_of(call, asyncio.CancelledError()) is code
