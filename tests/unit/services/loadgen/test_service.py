"""The load generator's settings and its meter."""

import pytest

from grpcmesh.config import ConfigError
from services.loadgen.meter import Meter
from services.loadgen.report import Sample
from services.loadgen.settings import Settings


def test_by_default_there_is_no_load() -> None:
    assert Settings.from_env({}) == Settings(0.0, "mix")


def test_rate_and_scenario_are_read() -> None:
    settings = Settings.from_env({"MESHMART_LOAD_RPS": "2.5", "MESHMART_LOAD_SCENARIO": "buy"})
    assert settings == Settings(2.5, "buy")


@pytest.mark.parametrize("rps", ["-1", "many", "inf", "nan", "2001"])
def test_every_bad_setting_is_told_at_once(rps: str) -> None:
    with pytest.raises(ConfigError) as told:
        Settings.from_env({"MESHMART_LOAD_RPS": rps, "MESHMART_LOAD_SCENARIO": "steal"})
    assert [p.partition("=")[0] for p in told.value.problems] == [
        "MESHMART_LOAD_SCENARIO",
        "MESHMART_LOAD_RPS",
    ]


def test_a_meter_counts_and_keeps_nothing() -> None:
    meter = Meter()
    for latency, code in ((0.004, "OK"), (0.03, "OK"), (20.0, "UNAVAILABLE")):
        meter.add(Sample("order", "CreateOrder", 10.0, 10.0 + latency, code, "a", 1))
    meter.dropped = 2
    assert meter.samples == []
    samples = [sample for family in meter.collect() for sample in family.samples]
    values = {(s.name, s.labels.get("code") or s.labels.get("le")): s.value for s in samples}
    assert values["loadgen_calls_total", "OK"] == 2
    assert values["loadgen_calls_total", "UNAVAILABLE"] == 1
    assert values["loadgen_latency_seconds_bucket", "0.005"] == 1
    assert values["loadgen_latency_seconds_bucket", "0.05"] == 2
    assert values["loadgen_latency_seconds_bucket", "10.0"] == 2
    assert values["loadgen_latency_seconds_bucket", "+Inf"] == 3
    assert values["loadgen_latency_seconds_count", None] == 3
    assert values["loadgen_dropped_total", None] == 2
