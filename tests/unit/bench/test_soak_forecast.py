"""The weather of a soak: drawn from a seed, and harmless where it overlaps."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.soak.forecast import CALM, KINDS, RECOVERY, SPARED, Weather, forecast

REPLICAS = {"product": 2, "order": 3, "storefront": 2, "lonely": 1}


def test_the_same_seed_gives_the_same_weather_and_another_seed_another() -> None:
    assert forecast(7, 600, 10, REPLICAS) == forecast(7, 600, 10, dict(reversed(REPLICAS.items())))
    assert forecast(7, 600, 10, REPLICAS) != forecast(8, 600, 10, REPLICAS)


def test_an_hour_brings_every_kind_about_as_often_as_it_should() -> None:
    weather = forecast(1, 3600, 12, REPLICAS)
    assert {w.kind for w in weather} == set(KINDS)
    assert 150 <= len(weather) <= 350
    assert {w.how for w in weather if w.kind == "database"} == {"fast", "immediate"}
    assert {w.how for w in weather if w.kind == "dns"} == {"silent", "servfail"}
    assert {w.how for w in weather if w.kind == "scale"} == {"-1", "+1"}


@given(seed=st.integers(), every=st.floats(2, 60), length=st.floats(60, 3600))
def test_no_weather_takes_away_what_makes_another_harmless(seed: int, every: float, length: float) -> None:
    weather = forecast(seed, length, every, REPLICAS)
    assert [w.at for w in weather] == sorted(w.at for w in weather)
    for w in weather:
        assert w.at >= CALM
        assert w.at + w.seconds <= length - CALM
        assert w.service != "lonely"
        assert w.service != "storefront" or w.kind in ("kill", "freeze", "scale")
        if w.kind in ("kill", "freeze"):
            assert SPARED < w.replica <= REPLICAS[w.service]
    for a, b in itertools.combinations(weather, 2):
        if a.excludes(b):
            assert b.at >= a.at + a.seconds + RECOVERY


@pytest.mark.parametrize(
    ("a", "b", "excluded"),
    [
        (
            Weather(0, "kill", service="order", replica=2),
            Weather(0, "hang", service="order", replica=1),
            True,
        ),
        (
            Weather(0, "kill", service="order", replica=2),
            Weather(0, "hang", service="chat", replica=1),
            False,
        ),
        (Weather(0, "kill", service="order", replica=2), Weather(0, "database"), True),
        (Weather(0, "dns"), Weather(0, "database"), True),
        (Weather(0, "dns"), Weather(0, "rotate"), False),
        (Weather(0, "dns"), Weather(0, "slow", service="chat", replica=1), False),
        (Weather(0, "dns"), Weather(0, "kill", service="chat", replica=2), True),
        (Weather(0, "dns"), Weather(0, "scale", service="chat"), True),
        (Weather(0, "dns"), Weather(0, "dns"), True),
    ],
)
def test_what_excludes_what(a: Weather, b: Weather, excluded: bool) -> None:
    assert a.excludes(b) is b.excludes(a) is excluded
