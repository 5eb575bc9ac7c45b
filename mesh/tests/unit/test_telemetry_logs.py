"""Log lines: their format, the values that they omit, and how they are written."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.call import Kind, Method, Principal, Purpose, ServerCall, TraceContext, Workload, current_call
from grpcmesh.errors import NotFound
from grpcmesh.status import code_of
from grpcmesh.telemetry import Logger
from grpcmesh.telemetry.access import AccessLog
from grpcmesh.telemetry.logs import CapturedLogging, timestamps
from grpcmesh.telemetry.writer import MAX_BUFFER, LineWriter

GET = Method.parse("/ecommerce.ProductService/GetProduct", Kind.UNARY)
HEALTH = Method.parse("/grpc.health.v1.Health/Check", Kind.UNARY)
TRACE = TraceContext("ab" * 16, "cd" * 8, False)
#: Workloads of which "order" or nothing would be too little: another path, domain, or namespace.
FOREIGN = (
    "spiffe://cluster.local/region/eu/order",
    "spiffe://partner.example/ns/meshmart/sa/order",
    "spiffe://cluster.local/ns/staging/sa/order",
)


class Lines:
    """A logger whose lines are kept, parsed."""

    def __init__(self, level: str = "DEBUG") -> None:
        self._raw: list[str] = []
        self.log = Logger("product", "product-1", self._raw.append, level)

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._raw]


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_a_line_has_the_common_fields_and_its_own(lines: Lines) -> None:
    lines.log.info("stock reserved", order=7, items=["a", "b"])
    [line] = lines.all
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "INFO",
        "service": "product",
        "replica": "product-1",
        "msg": "stock reserved",
        "order": 7,
        "items": ["a", "b"],
    }


def test_a_line_inside_a_call_carries_its_trace(lines: Lines) -> None:
    call = ServerCall(GET, None, 0.0, {}, trace=TRACE)  # type: ignore[arg-type]
    token = current_call.set(call)
    lines.log.info("inside")
    current_call.reset(token)
    lines.log.info("outside")
    inside, outside = lines.all
    assert (inside["trace_id"], inside["span_id"]) == (TRACE.trace_id, TRACE.span_id)
    assert "trace_id" not in outside


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.none()))
def test_any_text_makes_one_valid_line(message: str, fields: dict[str, object]) -> None:
    raw: list[str] = []
    Logger("product", "product-1", raw.append).log("INFO", message, fields)
    assert "\n" not in raw[0]
    assert json.loads(raw[0], parse_constant=pytest.fail)["msg"] == message


def test_a_field_cannot_take_the_place_of_a_common_one(lines: Lines) -> None:
    lines.log.info("connected", service="user", trace_id="x")
    assert (lines.all[0]["service"], lines.all[0]["service_"]) == ("product", "user")


SECRETS = "password Authorization card_number cardNumber cvv access_token token client-secret set-cookie key"
HARMLESS = "discarded cardinality budget_tokens idempotency_key pinned company spanning"


@pytest.mark.parametrize("key", SECRETS.split())
def test_a_field_named_like_a_secret_is_redacted_wherever_it_stands(lines: Lines, key: str) -> None:
    lines.log.info("x", **{key: "hunter2"}, inner={"deep": [{key: "hunter2"}]})
    assert "hunter2" not in json.dumps(lines.all)


@pytest.mark.parametrize("key", HARMLESS.split())
def test_a_field_that_only_contains_such_letters_is_not(lines: Lines, key: str) -> None:
    lines.log.info("x", **{key: "fine"})
    assert lines.all[0][key] == "fine"


def test_a_value_that_json_does_not_know_is_written_as_text(lines: Lines) -> None:
    lines.log.info("x", error=ValueError("odd"), where=os.fspath("/tmp"))
    assert lines.all[0]["error"] == "odd"


def test_lines_below_the_level_are_not_written() -> None:
    lines = Lines("WARNING")
    lines.log.debug("a")
    lines.log.info("b")
    lines.log.warning("c")
    lines.log.error("d")
    assert [line["msg"] for line in lines.all] == ["c", "d"]


def test_an_error_has_type_and_stack(lines: Lines) -> None:
    try:
        raise KeyError("gone")
    except KeyError as error:
        lines.log.error("failed", error)
    assert lines.all[0]["error"] == "KeyError"
    assert "test_an_error_has_type_and_stack" in lines.all[0]["stack"]


def test_timestamps_are_utc_with_milliseconds_across_a_second() -> None:
    now = iter([1769860800.0, 1769860800.9996, 1769860801.25])
    stamp = timestamps(lambda: next(now))
    assert [stamp() for _ in range(3)] == [
        "2026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00.999Z",
        "2026-01-31T12:00:01.250Z",
    ]


@pytest.fixture
def captured(lines: Lines) -> Iterator[Lines]:
    capture = CapturedLogging(lines.log)
    yield lines
    capture.restore()


def test_the_standard_librarys_logging_comes_out_in_the_same_form(captured: Lines) -> None:
    logging.getLogger("some.library").warning("slow %s", "client")  # uvicorn sets levels of its own
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("alembic").exception("migration failed")
    first, second = captured.all
    assert (first["level"], first["msg"], first["logger"]) == ("WARNING", "slow client", "some.library")
    assert (second["level"], second["error"]) == ("ERROR", "ValueError")


def test_capturing_ends_with_restore(lines: Lines) -> None:
    before = logging.getLogger().handlers[:]
    CapturedLogging(lines.log).restore()
    assert logging.getLogger().handlers == before


def served(
    lines: Lines,
    mode: str = "all",
    method: Method = GET,
    error: BaseException | None = None,
    code: grpc.StatusCode = grpc.StatusCode.OK,
    caller: str = "spiffe://cluster.local/ns/meshmart/sa/order",
) -> None:
    purpose = Purpose.MESH if method is HEALTH else Purpose.APPLICATION
    call = ServerCall(method, None, 10.0, {}, purpose, trace=TRACE)  # type: ignore[arg-type]
    call.workload, call.principal = Workload.of_id(caller), Principal(2, "bob")
    call.error, call.ended, call.code = error, 10.0125, code if error is None else code_of(error)
    AccessLog(lines.log, mode, "cluster.local", "meshmart").on_end(call)


def test_the_access_log_has_a_line_for_a_call(lines: Lines) -> None:
    served(lines)
    [line] = lines.all
    del line["ts"]
    assert line == {
        "level": "INFO",
        "service": "product",
        "replica": "product-1",
        "msg": "call",
        "trace_id": TRACE.trace_id,
        "span_id": TRACE.span_id,
        "method": "ecommerce.ProductService/GetProduct",
        "code": "OK",
        "duration_ms": 12.5,
        "caller": "order",
        "user": 2,
    }


@pytest.mark.parametrize("caller", FOREIGN)
def test_a_caller_from_elsewhere_is_logged_by_its_whole_id(lines: Lines, caller: str) -> None:
    served(lines, caller=caller)
    assert lines.all[0]["caller"] == caller


def test_a_refused_call_says_why_and_an_unexpected_error_only_its_type(lines: Lines) -> None:
    served(lines, error=NotFound("product", "9"))
    served(lines, error=RuntimeError("card 4111111111111111"))
    refused, broken = lines.all
    assert (refused["level"], refused["code"], refused["reason"]) == (
        "INFO",
        "NOT_FOUND",
        "product 9 not found",
    )
    assert (broken["level"], broken["code"], broken["reason"]) == ("ERROR", "INTERNAL", "RuntimeError")


@pytest.mark.parametrize(("mode", "codes"), [("all", 2), ("errors", 1), ("off", 0)])
def test_the_mode_says_which_calls_get_a_line(lines: Lines, mode: str, codes: int) -> None:
    served(lines, mode)
    served(lines, mode, error=NotFound("product", "9"))
    assert len(lines.all) == codes


def test_health_checks_get_a_line_only_when_they_fail(lines: Lines) -> None:
    served(lines, method=HEALTH)
    served(lines, method=HEALTH, code=grpc.StatusCode.CANCELLED)
    served(lines, method=HEALTH, error=NotFound("service", "x"))
    assert [line["code"] for line in lines.all] == ["NOT_FOUND"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


async def test_lines_are_written_together_soon_after(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    os.set_blocking(reader, False)
    writer = LineWriter(fd)
    for n in range(100):
        writer.write(f"line {n}")
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(reader, readable.set)
    await asyncio.wait_for(readable.wait(), 60)
    asyncio.get_running_loop().remove_reader(reader)
    assert os.read(reader, 65536).decode().split("\n") == [f"line {n}" for n in range(100)] + [""]


def test_outside_of_a_loop_a_line_is_written_at_once(pipe: tuple[int, int]) -> None:
    LineWriter(pipe[1]).write("last words")
    assert os.read(pipe[0], 100) == b"last words\n"


async def test_a_reader_that_does_not_read_never_blocks_and_costs_bounded_memory(
    pipe: tuple[int, int],
) -> None:
    writer = LineWriter(pipe[1])
    line = "x" * 999
    for _ in range(3000):
        writer.write(line)
    taken = 3000 - writer.dropped
    assert MAX_BUFFER - 1000 <= taken * 1000 <= MAX_BUFFER + 70_000
    got = 0
    for _ in range(10_000):
        writer.flush()
        os.set_blocking(pipe[0], False)
        try:
            got += len(os.read(pipe[0], 65536))
        except BlockingIOError:
            break
    assert got == taken * 1000


async def test_closing_gives_up_on_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    for _ in range(300):
        writer.write("x" * 999)
    async with asyncio.timeout(60):
        await writer.aclose(timeout=0.1)


async def test_a_reader_that_is_gone_is_counted_not_raised() -> None:
    reader, fd = os.pipe()
    os.close(reader)
    writer = LineWriter(fd)
    writer.write("nobody hears this")
    await writer.aclose()
    os.close(fd)
    assert writer.dropped == 1
