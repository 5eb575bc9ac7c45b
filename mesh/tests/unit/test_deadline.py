"""The deadline of a call: named, inherited or by default."""

import math
from collections.abc import Iterator
from typing import Any, cast

import pytest

from grpcmesh.call import ClientCall, Kind, Method, ServerCall, current_call
from grpcmesh.config import DeadlineConfig
from grpcmesh.deadline import DeadlineLayer
from grpcmesh.errors import DeadlineExceeded

UNARY = Method.parse("/a.B/C", Kind.UNARY)
STREAM = Method.parse("/a.B/D", Kind.SERVER_STREAM)
CONFIG = DeadlineConfig(default=5.0, stream=60.0, margin=0.5)


@pytest.fixture
def served() -> Iterator[ServerCall]:
    """Yield the current server call. Its deadline is 110 s, and the tests start at 100 s."""
    call = ServerCall(UNARY, cast(Any, None), 90.0, {}, deadline=110.0)
    token = current_call.set(call)
    yield call
    current_call.reset(token)


def deadline(method: Method = UNARY, named: float | None = None) -> float | None:
    call = ClientCall(method, "ping", 100.0, deadline=named)
    DeadlineLayer(CONFIG).on_start(call)
    return call.deadline


def test_a_call_that_names_none_gets_the_default_of_its_kind() -> None:
    assert deadline() == 105.0
    assert deadline(STREAM) == 160.0


def test_a_timeout_that_is_named_is_bounded_by_what_is_left_to_the_call_being_served(
    served: ServerCall,
) -> None:
    assert deadline(named=103.0) == 103.0
    served.deadline = 101.0
    assert deadline(named=103.0) == 100.5
    assert deadline(STREAM, named=150.0) == 100.5


def test_nothing_is_inherited_from_a_call_that_is_over(served: ServerCall) -> None:
    served.deadline, served.over = 99.0, True
    assert deadline() == 105.0
    assert deadline(named=103.0) == 103.0


@pytest.mark.parametrize("timeout", [0.0, -1.0, -math.inf, math.inf, math.nan])
@pytest.mark.parametrize("inherits", [False, True])
def test_a_timeout_that_is_no_time_is_over_as_in_grpc_aio(
    served: ServerCall, timeout: float, inherits: bool
) -> None:
    served.over = not inherits
    layer = DeadlineLayer(CONFIG)
    with pytest.raises(DeadlineExceeded, match="the time was over"):
        layer.on_start(ClientCall(UNARY, "ping", 100.0, deadline=100.0 + timeout))
    assert layer.expired == 1


def test_the_remaining_time_of_the_call_being_served_is_passed_on(served: ServerCall) -> None:
    assert deadline(STREAM) == 109.5
    served.deadline = 102.0
    assert deadline() == 101.5


def test_the_default_holds_where_more_is_left(served: ServerCall) -> None:
    assert deadline() == 105.0


def test_a_call_being_served_without_deadline_leaves_the_default(served: ServerCall) -> None:
    served.deadline = None
    assert deadline() == 105.0


def test_work_whose_time_is_over_is_not_started(served: ServerCall) -> None:
    served.deadline = 100.4
    layer = DeadlineLayer(CONFIG)
    with pytest.raises(DeadlineExceeded, match=r"a\.B/C: the time was over"):
        layer.on_start(ClientCall(UNARY, "ping", 100.0))
    assert layer.expired == 1
