"""The arithmetic of a load report."""

import json
import math

import pytest

from services.loadgen.report import Report, Sample, percentile, spread, uneven


def sample(endpoint: str = "a", code: str = "OK", latency: float = 0.01, attempts: int = 1) -> Sample:
    return Sample("product", "GetProduct", 10.0, 10.0 + latency, code, endpoint, attempts)


def test_percentiles_are_nearest_rank() -> None:
    values = [float(v) for v in range(1, 101)]
    assert [percentile(values, q) for q in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.99) == 0.0


def test_the_spread_is_the_largest_share_over_the_smallest() -> None:
    assert spread({"a": 100, "b": 100}) == 1.0
    assert spread({"a": 105, "b": 100}) == pytest.approx(1.05)
    assert math.isinf(spread({"a": 1, "b": 0}))
    assert math.isinf(spread({}))


def test_a_dropped_arrival_is_an_error() -> None:
    report = Report([sample(), sample(code="UNAVAILABLE")], dropped=2)
    assert report.errors == 3
    assert report.codes() == {"OK": 1, "UNAVAILABLE": 1}


def test_the_summary_names_replicas_and_adds_up() -> None:
    report = Report([sample("a"), sample("a"), sample("b"), sample("b", attempts=2)], started=0.0, ended=2.0)
    summary = report.summary({"a": "product/1"})
    assert summary["rate"] == 2.0
    assert summary["retried"] == 1
    shares = summary["shares"]["product"]
    assert shares["replicas"]["product/1"] == {"address": "a", "calls": 2, "share": 0.5}
    assert shares["replicas"]["b"]["share"] == 0.5
    assert shares["max_over_min"] == 1.0


def test_the_summary_has_a_line_for_each_method() -> None:
    other = Sample("order", "CreateOrder", 0.0, 0.2, "UNAVAILABLE", None, 1)
    methods = Report([sample(latency=0.01), sample(latency=0.03), other]).methods()
    assert list(methods) == ["order/CreateOrder", "product/GetProduct"]
    assert methods["product/GetProduct"] == {
        "calls": 2,
        "errors": 0,
        "latency_ms": {"p50": 10.0, "p95": 30.0, "p99": 30.0},
    }
    assert methods["order/CreateOrder"]["errors"] == 1


def lockstep(calls: int = 100) -> Report:
    """A caller that alternates two methods over two replicas, by one index for both."""
    methods, replicas = ("CreateOrder", "GetOrder"), ("a", "b")
    return Report(
        [Sample("order", methods[i % 2], i, i + 0.01, "OK", replicas[i % 2], 1) for i in range(calls)]
    )


def test_a_lockstep_shows_method_by_method() -> None:
    shares = lockstep().summary({"a": "order/1", "b": "order/2"})["shares"]["order"]
    assert shares["max_over_min"] == 1.0
    create = shares["methods"]["CreateOrder"]
    assert create["replicas"]["order/1"] == {"address": "a", "calls": 50, "share": 1.0}
    assert create["replicas"]["order/2"] == {"address": "b", "calls": 0, "share": 0.0}
    assert create["max_over_min"] is None  # JSON has no infinity
    assert create["uneven"] is True


def test_the_summary_is_json_whatever_failed() -> None:
    failed = Sample("order", "GetOrder", 0.0, 0.2, "UNAVAILABLE", None, 1)
    summary = Report(
        [*lockstep().samples, failed, Sample("user", "Login", 0, 1, "INTERNAL", None, 1)]
    ).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_few_calls_are_uneven_by_chance_and_many_are_not() -> None:
    assert not uneven({"a": 3, "b": 0})
    assert not uneven({"a": 340, "b": 330, "c": 320})
    assert uneven({"a": 2, "b": 107})
    assert uneven({"a": 90, "b": 60, "c": 30})
    assert not uneven({"a": 5})
    assert not uneven({})
