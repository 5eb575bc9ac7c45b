"""What programs read is never wrapped."""

import pytest

from meshmart.load import show
from meshmart.output import console
from meshmart.status import _show
from meshmart.tour.check import Check, Outcome
from meshmart.tour.command import _table
from services.loadgen.report import Report, Sample

POD = "notification-with-a-long-name-" + "x" * 33
LONG = "how many calls of a long description failed " * 5


@pytest.fixture(params=["", "40"])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a shell has exported."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param:
        monkeypatch.setenv("COLUMNS", request.param)


@pytest.mark.usefixtures("columns")
def test_a_pod_stands_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    replica = {"id": 1, "address": "10.244.0.7", "port": 50051, "pid": None, "pod": POD, "ready": True}
    told = {
        "storefront": "http://storefront.meshmart.svc.cluster.local:8080",
        "traces": None,
        "prometheus": None,
        "dns": None,
        "services": {"notification": {"port": 50051, "replicas": [replica | {"restarts": 0}]}},
    }
    _show(told)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "10.244.0.7" in line]
    assert line.split() == ["notification/1", "10.244.0.7:50051", "yes", "0", POD]


@pytest.mark.usefixtures("columns")
def test_a_figure_of_the_tour_stands_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    _table([Outcome("balance", (Check(LONG, 1, 0, relation="=="),))])
    assert LONG.strip() in capsys.readouterr().out


@pytest.mark.usefixtures("columns")
def test_a_replica_under_load_stands_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    latency = {"p50": 1.0, "p95": 1.0, "p99": 1.0}
    row = {"address": "[2001:db8::7]:50051", "calls": 1, "share": 1.0}
    summary = {"calls": 1, "rate": 1.0, "errors": 0, "retried": 0, "codes": {"OK": 1}, "latency_ms": latency}
    methods = {"product/GetProduct": {"calls": 1, "errors": 0, "latency_ms": latency}}
    shares = {"product": {"replicas": {POD: row}, "max_over_min": 1.0, "methods": {}}}
    show(summary | {"methods": methods, "shares": shares})
    assert any(POD in line and "[2001:db8::7]:50051" in line for line in capsys.readouterr().out.splitlines())


@pytest.mark.usefixtures("columns")
def test_a_load_shows_which_replica_never_gets_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    methods, replicas = ("CreateOrder", "GetOrder"), ("10.0.0.1:50051", "10.0.0.2:50051")
    calls = [Sample("order", methods[i % 2], i, i + 1, "OK", replicas[i % 2], 1) for i in range(100)]
    show(Report(calls).summary({replicas[0]: "order/1", replicas[1]: "order/2"}))
    lines = [line.replace("│", "").split() for line in capsys.readouterr().out.splitlines()]
    assert ["order:", "largest", "/", "smallest", "1.000"] in lines
    assert ["order/CreateOrder", "order/1", "50", "100.0%"] in lines
    assert ["order/CreateOrder", "order/2", "0", "0.0%"] in lines
    assert ["order/CreateOrder", "uneven", "beyond", "chance", "-"] in lines


def test_a_load_of_which_nothing_was_answered_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show(Report([Sample("order", "GetOrder", 0.0, 1.0, "UNAVAILABLE", None, 1)]).summary())
    assert "by code: UNAVAILABLE 1" in capsys.readouterr().out


def test_a_terminal_elsewhere_may_say_how_wide_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHMART_COLUMNS", "132")
    assert console().width == 132
