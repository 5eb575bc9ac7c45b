"""`meshmart up`: the standing load of `make demo`."""

import os
from pathlib import Path

import pytest
import typer

from local.options import Options
from meshmart import up

RPS = "MESHMART_LOAD_RPS"


def started(monkeypatch: pytest.MonkeyPatch, **options: object) -> Options:
    """The options with which the supervisor would be started."""
    given: list[Options] = []
    monkeypatch.setattr(up, "_detached", lambda options: given.append(options) or 0)
    with pytest.raises(typer.Exit):
        up.up(detach=True, state_dir=Path("state"), **options)  # type: ignore[arg-type]
    return given[0]


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable; what a test sets is undone."""
    monkeypatch.setenv(RPS, "0")
    monkeypatch.delenv(RPS)


def test_there_is_no_standing_load_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch).replicas == {}
    assert RPS not in os.environ


def test_a_standing_load_is_a_replica_of_the_load_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, load=3.0, replicas=["product=3"]).replicas == {"product": 3, "loadgen": 1}
    assert os.environ[RPS] == "3"


def test_what_a_person_has_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ[RPS] = "20"
    assert started(monkeypatch, load=3.0, replicas=["loadgen=2"]).replicas == {"loadgen": 2}
    assert os.environ[RPS] == "20"


def test_quiet_means_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, load=3.0, quiet=True).replicas == {}
    assert RPS not in os.environ
