"""What Prometheus is told; its own tool reads it where it is installed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from local.prometheus import RULES, Target, command, write_config, write_targets

TARGETS = [Target("product", "product-2", "127.0.1.2:9090"), Target("order", "order-1", "127.0.2.1:9090")]


def test_each_replica_is_a_target_with_its_service_and_name(tmp_path: Path) -> None:
    file = tmp_path / "sd" / "targets.json"
    write_targets(file, TARGETS)
    groups = json.loads(file.read_text())
    assert [g["targets"] for g in groups] == [["127.0.2.1:9090"], ["127.0.1.2:9090"]]
    assert groups[1]["labels"] == {
        "namespace": "meshmart", "service": "product", "replica": "product-2", "instance": "product-2",
    }  # fmt: skip
    assert [p.name for p in file.parent.iterdir()] == ["targets.json"]


def test_the_command_names_config_data_and_address(tmp_path: Path) -> None:
    line = command("prometheus", tmp_path / "p.yml", tmp_path / "data", "127.0.0.1:0")
    assert f"--config.file={tmp_path}/p.yml" in line
    assert "--web.listen-address=127.0.0.1:0" in line


def test_it_evaluates_the_rules_of_the_chart(tmp_path: Path) -> None:
    assert str(RULES / "*.yaml") in write_config(tmp_path, tmp_path / "targets.json").read_text()
    assert sorted(file.stem for file in RULES.glob("*.yaml")) == ["identity", "mesh", "shop", "slo"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / 'it\'s "quoted"' / "targets.json"
    write_targets(file, TARGETS)
    config = write_config(tmp_path, file)
    checked = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
