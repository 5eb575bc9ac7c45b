"""Log lines about untrusted values."""

import json
import math
from typing import Any

import grpc
from hypothesis import example, given
from hypothesis import strategies as st

from grpcmesh.errors import Unavailable
from grpcmesh.telemetry.access import MAX_PATH, AccessLog
from grpcmesh.telemetry.logs import MAX_FIELD, Logger
from tests.unit.fakes import call, workload


class Hostile:
    """An object whose own methods raise."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def line(**fields: object) -> dict[str, Any]:
    lines: list[str] = []
    Logger("shop", "shop-1", lines.append).info("event", **fields)
    [written] = lines
    assert "\n" not in written
    assert written.isascii()
    read: dict[str, Any] = json.loads(written)
    return read


def test_a_value_that_cannot_be_written_does_not_cost_the_line() -> None:
    endless: list[Any] = []
    endless.append(endless)
    written = line(
        a=Hostile(), b=endless, c={"x": {"y": Hostile()}}, d="\ud800\x1b[31m\n", e=math.nan, f={1: {2}}
    )
    assert written["a"] == "[a Hostile that cannot be written: RuntimeError]"
    assert "[…]" in json.dumps(written["b"], ensure_ascii=False)
    assert written["d"] == "\ud800\x1b[31m\n"
    assert written["msg"] == "event"


class Nameless:
    """An object that has no text at all."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_a_value_that_is_neither_json_nor_text_does_not_cost_the_line() -> None:
    written = line(huge=10**5000, both=[math.nan, Nameless()], deep={"n": [-(10**5000)]})
    assert "cannot be written: ValueError" in written["huge"]
    assert written["msg"] == "event"


def test_a_value_that_is_too_long_is_cut() -> None:
    written = line(long="x" * 1_000_000, many=list(range(100_000)))
    assert all(len(written[key]) < MAX_FIELD + 10 for key in ("long", "many"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
        ),
    )
)
def test_whatever_a_field_holds_there_is_one_line_of_json(value: object) -> None:
    assert line(field=value)["msg"] == "event"


@given(st.text(), st.text(), st.text())
@example("0" * MAX_PATH, "", "")
def test_whatever_a_caller_is_called_the_access_log_has_one_line_of_json(
    path: str, caller: str, reason: str
) -> None:
    lines: list[str] = []
    served = call(f"/{path}", workload=workload(caller))
    served.code, served.error = grpc.StatusCode.UNAVAILABLE, Unavailable(reason)
    AccessLog(Logger("shop", "shop-1", lines.append), "all", "cluster.local", "default").on_end(served)
    [written] = lines
    assert written.isascii()
    assert written.isprintable()
    read = json.loads(written)
    assert (read["method"], read["reason"]) == (f"/{path}"[1:MAX_PATH], reason[:200])
    assert read["caller"] == (caller or str(served.workload))
