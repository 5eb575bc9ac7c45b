"""What a server tells of its load, in virtual time."""

import grpc

from grpcmesh.balancer import LOAD_KEY, LoadReport, LoadReporter
from grpcmesh.call import Kind, Method, ServerCall

PING = Method.parse("/ping/Ping", Kind.UNARY)


class Hand:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def ended(code: grpc.StatusCode) -> ServerCall:
    return ServerCall(PING, None, 0.0, {}, code=code)  # type: ignore[arg-type]


def test_a_report_tells_the_rates_since_the_one_before() -> None:
    clock, cpu = Hand(), Hand()
    reporter = LoadReporter(clock, cpu)
    for code in [grpc.StatusCode.OK] * 30 + [grpc.StatusCode.NOT_FOUND] * 10:
        reporter.on_end(ended(code))
    clock.now, cpu.now = 2.0, 0.5
    assert reporter.report() == LoadReport(cpu_utilization=0.25, qps=20, eps=5)
    clock.now = 3.0
    assert reporter.report() == LoadReport()


def test_the_metadata_is_what_the_balancer_reads() -> None:
    clock, cpu = Hand(), Hand()
    reporter = LoadReporter(clock, cpu)
    reporter.on_end(ended(grpc.StatusCode.OK))
    clock.now, cpu.now = 1.0, 0.5
    key, value = reporter.metadata()
    assert key == LOAD_KEY
    assert LoadReport.decode(value) == LoadReport(cpu_utilization=0.5, qps=1)


def test_no_time_between_two_reports_is_no_error() -> None:
    reporter = LoadReporter(Hand(), Hand())
    reporter.report()
    assert reporter.report().qps == 0
