"""The rule files of the chart, and the tests that promtool runs of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "helm" / "meshmart" / "rules").glob("*.yaml"))
TESTS = sorted(Path(__file__).parent.glob("rules/*.test.yaml"))

Rule = dict[str, Any]


def rules() -> Iterator[Rule]:
    """Every rule of every file."""
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, list[Rule]]:
    """The alert rules by name: one alert may have a rule for each of its windows."""
    found: dict[str, list[Rule]] = {}
    for rule in rules():
        if "alert" in rule:
            found.setdefault(rule["alert"], []).append(rule)
    return found


def expectations() -> Iterator[tuple[str, bool]]:
    """What promtool is told to expect: an alert, and whether it fires then."""
    for file in TESTS:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for test in case.get("alert_rule_test", ()):
                yield test["alertname"], bool(test["exp_alerts"])
            for test in case.get("promql_expr_test", ()):
                if test["expr"].startswith("ALERTS{"):
                    yield test["expr"].split('"')[1], bool(test["exp_samples"])
