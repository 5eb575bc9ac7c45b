"""What `meshmart fault` says of no replica, one, and two."""

from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from local.errors import ClusterError
from meshmart import fault
from meshmart.errors import CommandError

SILENT = ClusterError("product/2 does not answer")


def run(monkeypatch: pytest.MonkeyPatch, results: list[Any], *arguments: str) -> Any:
    """Run the verb where each replica answers one of these results."""
    outcome = [("product", SimpleNamespace(id=n), result) for n, result in enumerate(results, 1)]
    monkeypatch.setattr(fault, "_each", lambda *_: outcome)
    return CliRunner().invoke(fault.app, arguments)


def test_a_fault_of_no_replica_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(monkeypatch, [], "set", "product", "--delay", "1ms")
    assert done.exit_code == 1
    assert isinstance(done.exception, CommandError)
    assert str(done.exception) == "product has no replicas, so no fault was set"


@pytest.mark.parametrize(
    ("cleared", "told"),
    [
        ([], ["no faults were set"]),
        ([0, 0], ["no faults were set"]),
        ([0, 1], ["product/2  1 cleared"]),
        ([2, 1], ["product/1  2 cleared", "product/2  1 cleared"]),
    ],
)
def test_what_was_cleared_is_told(
    cleared: list[int], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(monkeypatch, cleared, "clear", "product")
    assert (done.exit_code, done.stdout.splitlines()) == (0, told)


@pytest.mark.parametrize(
    ("answers", "told", "code"),
    [([], "no faults are set\n", 0), ([[], []], "no faults are set\n", 0), ([[], SILENT], "", 1)],
)
def test_that_there_are_none_is_told_only_if_every_replica_has_said_so(
    answers: list[Any], told: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(monkeypatch, answers, "list", "product")
    assert (done.exit_code, done.stdout) == (code, told)
