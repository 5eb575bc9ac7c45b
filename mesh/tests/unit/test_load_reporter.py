"""A server's load reports, in virtual time."""

import grpc

from grpcmesh.balancer import LoadReport, LoadReporter
from grpcmesh.call import Kind, Method, ServerCall

PING = Method.parse("/ping/Ping", Kind.UNARY)


class Hand:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def ended(code: grpc.StatusCode) -> ServerCall:
    return ServerCall(PING, None, 0.0, {}, code=code)  # type: ignore[arg-type]


def begun(at: float) -> ServerCall:
    return ServerCall(PING, None, at, {})  # type: ignore[arg-type]


def test_a_report_tells_the_rates_of_the_last_interval() -> None:
    clock, cpu = Hand(), Hand()
    reporter = LoadReporter(clock, cpu, interval=2.0)
    for code in [grpc.StatusCode.OK] * 30 + [grpc.StatusCode.NOT_FOUND] * 10:
        reporter.on_end(ended(code))
    clock.now = 1.9
    assert reporter.current() == LoadReport()
    clock.now, cpu.now = 2.0, 0.5
    assert reporter.current() == LoadReport(cpu_utilization=0.25, qps=20, eps=5)
    clock.now = 3.0
    assert reporter.current() == LoadReport(cpu_utilization=0.25, qps=20, eps=5)
    clock.now = 4.0
    assert reporter.current() == LoadReport()


def test_each_answer_carries_the_report_for_python_and_for_all_others() -> None:
    clock, cpu = Hand(), Hand()
    reporter = LoadReporter(clock, cpu)
    reporter.on_end(ended(grpc.StatusCode.OK))
    clock.now, cpu.now = 1.0, 0.5
    call = begun(1.0)
    reporter.on_start(call)
    told = LoadReport(cpu_utilization=0.5, qps=1)
    assert {key: LoadReport.decode(value) for key, value in call.trailing if isinstance(value, bytes)} == {
        "mesh-load-bin": told,
        "endpoint-load-metrics-bin": told,
    }


def test_no_time_between_two_reports_is_no_error() -> None:
    reporter = LoadReporter(Hand(), Hand())
    reporter.current()
    assert reporter.current().qps == 0
