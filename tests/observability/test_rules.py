"""Recording and alert rules: promtool runs their tests, and every alert has what whoever is woken needs."""

import re
import subprocess
from pathlib import Path

import grpc
import pytest

from grpcmesh.telemetry.metrics import BUCKETS, CODE_NAMES, FAULTS
from tests.observability.rules import ROOT, RULES, TESTS, alerts, expectations, rules

ALERTS = alerts()
OPERATIONS = ROOT / "docs" / "operations.md"
URL = "https://github.com/meshmart/meshmart/blob/main/docs/operations.md#"


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", RULES, ids=lambda f: f.stem)
def test_promtool_accepts_the_rules(file: Path) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", file)


@pytest.mark.parametrize("file", TESTS, ids=lambda f: f.name)
def test_each_alert_fires_when_it_should_and_not_otherwise(file: Path) -> None:
    promtool("test", "rules", file)


@pytest.mark.parametrize("name", ALERTS)
def test_promtool_is_told_when_an_alert_fires_and_when_it_does_not(name: str) -> None:
    assert {fires for alert, fires in expectations() if alert == name} == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(name: str) -> None:
    sections = re.findall(r"^### (\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    for rule in ALERTS[name]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "__dashboardUid__"}
        assert rule["annotations"]["runbook_url"] == URL + name.lower()
        assert sections.count(name) == 1


def test_the_runbook_knows_no_alert_that_there_is_not() -> None:
    alert_part = OPERATIONS.read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^### (\w+)$", alert_part, re.MULTILINE)) == set(ALERTS)


def test_every_rule_looks_at_this_mesh_only() -> None:
    for rule in rules():
        raw = re.findall(r"\b((?:grpc|mesh|shop|process|up)\w*)\{", rule["expr"])
        assert rule["expr"].count('job="meshmart"') == len(raw), rule


def test_rules_and_code_agree_on_which_codes_are_faults_and_on_the_buckets() -> None:
    told = {codes for rule in rules() for codes in re.findall(r'grpc_code=~"([\w|]+)"', rule["expr"])}
    assert [set(codes.split("|")) for codes in told] == [{CODE_NAMES[name] for name in FAULTS}]
    assert grpc.StatusCode.OK.name not in FAULTS
    bounds = {le for rule in rules() for le in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert bounds <= set(map(str, BUCKETS))
