"""Tilt's buttons and checks call the meshmart command: what they say, it must understand."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshmart.tour.scenes import SCENES
from services.loadgen.journeys import SCENARIOS
from tests.tilt.host import evaluate
from tests.tilt.session import Session
from tests.tilt.tools import need
from tests.tilt.understood import understood

ROOT = Path(__file__).parents[2]
#: In place of the command: writes down how it was called.
RECORDER = '#!/bin/sh\nprintf "%s\\0" "$@"\n'


@pytest.fixture(scope="module")
def up() -> Session:
    need("helm")
    return evaluate(ROOT)


def called(button: dict[str, Any], inputs: dict[str, str], recorder: Path) -> list[str]:
    """The arguments with which a click, with these inputs, calls the command: its shell runs."""
    environment = {**button["env"], **inputs, "MESHMART": str(recorder), "PATH": os.environ["PATH"]}
    done = subprocess.run(button["argv"], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def fillings(button: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Every way to fill its inputs: each choice, and for an optional text, none and some."""
    names = [each["name"] for each in button["inputs"]]
    values = [each["values"] if each["values"] != [""] else ["", "GetProduct"] for each in button["inputs"]]
    for combination in itertools.product(*values):
        yield dict(zip(names, combination, strict=True))


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    path = tmp_path / "meshmart"
    path.write_text(RECORDER)
    path.chmod(0o755)
    return path


def test_whatever_is_filled_in_the_command_understands(up: Session, recorder: Path) -> None:
    for button in up.buttons:
        for inputs in fillings(button):
            arguments = called(button, inputs, recorder)
            understood(arguments)
            assert arguments[-4:] == ["--context", "kind-meshmart", "--namespace", "meshmart"]


def test_there_are_buttons_for_load_tour_rotation_and_for_a_fault_in_each_service(up: Session) -> None:
    everywhere = {each["name"] for each in up.buttons if not each["resource"]}
    assert {"load", "tour", "rotate", "faults", "no-faults"} <= everywhere
    services = {each.name for each in up.resources.values() if each.labels == ["service"]}
    assert {each["resource"] for each in up.buttons if each["resource"]} == services


def test_the_choices_are_the_command_s_own(up: Session) -> None:
    choices = {
        (button["name"], each["name"]): each["values"] for button in up.buttons for each in button["inputs"]
    }
    assert choices["tour", "scene"] == ["all", *SCENES]
    assert sorted(choices["load", "scenario"]) == sorted(SCENARIOS)


def test_inputs_reach_the_command_as_they_are_typed(up: Session, recorder: Path) -> None:
    (button,) = [each for each in up.buttons if each["name"] == "fault-product"]
    inputs = {"method": "a b; $(c)", "delay": "1s", "abort": "none", "share": "0.1"}
    assert called(button, inputs, recorder)[:9] == (
        ["fault", "set", "product", "--method", "a b; $(c)", "--delay", "1s", "--share", "0.1"]
    )


def test_the_checks_call_the_command_of_this_checkout_in_a_way_it_understands(up: Session) -> None:
    for name in ("orders", "audit"):
        program, *arguments = up.resources[name].how["cmd"]
        assert program == str(ROOT / ".venv/bin/meshmart")
        understood(arguments)


def test_a_command_that_meshmart_does_not_know_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        understood(["load", "--speed", "3"])
    with pytest.raises(Exception, match="No such command"):
        understood(["loads"])
