"""Runs a real Prometheus with the embedded cluster, if its binary is installed.

Job and target labels are those of helm/meshmart/files/prometheus.yaml, so one set of dashboards and rules
serves both.

Targets come from a file that the supervisor rewrites as replicas start and end (file_sd), so Prometheus
itself is never restarted or reloaded.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local.catalog import NAMESPACE

#: Seconds between scrapes: a demo is watched live.
SCRAPE_INTERVAL = 2
#: Seconds between evaluations of the rules.
EVALUATION_INTERVAL = 5

#: The chart's recording and alert rules. An installed wheel has neither them nor the chart.
RULES = Path(__file__).parents[1] / "helm" / "meshmart" / "rules"

_CONFIG = """\
global:
  scrape_interval: {interval}s
  scrape_timeout: {interval}s
  evaluation_interval: {evaluation}s
rule_files: [{rules}]
scrape_configs:
  - job_name: meshmart
    file_sd_configs:
      - files: [{targets}]
        refresh_interval: 10s
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One replica to scrape, such as `Target("product", "product-1", "127.0.1.1:9090")`."""

    service: str
    replica: str
    address: str


def find() -> str | None:
    """Return the path of the prometheus binary, or None if it is not installed."""
    return shutil.which("prometheus")


def write_config(directory: Path, targets_file: Path) -> Path:
    """Write `prometheus.yml` into the directory and return its path.

    The targets file may be written later.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "prometheus.yml"
    # JSON's strings are YAML's.
    text = _CONFIG.format(
        interval=SCRAPE_INTERVAL,
        evaluation=EVALUATION_INTERVAL,
        rules=json.dumps(str(RULES / "*.yaml")),
        targets=json.dumps(str(targets_file.resolve())),
    )
    _replace(config, text)
    return config


def write_targets(targets_file: Path, targets: Iterable[Target]) -> None:
    """Write the replicas to scrape, atomically. Each gets the labels `namespace`, `service` and `replica`.

    `instance` is the replica, too: on a laptop the address tells a person nothing.
    """
    groups = [
        {
            "targets": [target.address],
            "labels": {
                "namespace": NAMESPACE,
                "service": target.service,
                "replica": target.replica,
                "instance": target.replica,
            },
        }
        for target in sorted(targets, key=lambda t: (t.service, t.replica))
    ]
    targets_file.parent.mkdir(parents=True, exist_ok=True)
    _replace(targets_file, json.dumps(groups, indent=1))


def command(binary: str, config: Path, data: Path, address: str) -> list[str]:
    """Return the command line that runs it in the foreground; SIGTERM ends it.

    Args:
        binary: The path from `find`.
        config: The path from `write_config`.
        data: The directory for samples (a few hours).
        address: The `host:port` of its page.
    """
    return [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=6h",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]


def _replace(path: Path, text: str) -> None:
    # Prometheus watches the file: it must never see a partial one.
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    os.replace(temporary, path)
