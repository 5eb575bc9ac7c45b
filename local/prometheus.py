"""A real Prometheus beside the embedded cluster, where its binary is installed.

Targets come from a file that the supervisor rewrites as replicas come and go (file_sd), so Prometheus
itself is never restarted or reloaded.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Seconds between scrapes: a demo is watched live.
SCRAPE_INTERVAL = 2

_CONFIG = """\
global:
  scrape_interval: {interval}s
  scrape_timeout: {interval}s
scrape_configs:
  - job_name: meshmart
    file_sd_configs:
      - files: [{targets}]
        refresh_interval: 10s
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One replica to scrape: `Target("product", "product-1", "127.0.1.1:9090")`."""

    service: str
    replica: str
    address: str


def find() -> str | None:
    """The path of the prometheus binary, or None where it is not installed."""
    return shutil.which("prometheus")


def write_config(directory: Path, targets_file: Path) -> Path:
    """Writes `prometheus.yml` into the directory and returns its path. The targets file may come later."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "prometheus.yml"
    # JSON's strings are YAML's.
    targets = json.dumps(str(targets_file.resolve()))
    _replace(config, _CONFIG.format(interval=SCRAPE_INTERVAL, targets=targets))
    return config


def write_targets(targets_file: Path, targets: Iterable[Target]) -> None:
    """Writes the replicas to scrape, in one step; each gets the labels `service` and `replica`.

    `instance` is the replica too: on a laptop the address says nothing to a person.
    """
    groups = [
        {
            "targets": [target.address],
            "labels": {"service": target.service, "replica": target.replica, "instance": target.replica},
        }
        for target in sorted(targets, key=lambda t: (t.service, t.replica))
    ]
    targets_file.parent.mkdir(parents=True, exist_ok=True)
    _replace(targets_file, json.dumps(groups, indent=1))


def command(binary: str, config: Path, data: Path, address: str) -> list[str]:
    """The command line that runs it in the foreground; SIGTERM ends it.

    Args:
        binary: From `find`.
        config: From `write_config`.
        data: Where samples are kept (a few hours).
        address: `host:port` of its page.
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
    # Prometheus watches the file: it must never see half of it.
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    os.replace(temporary, path)
