"""A release on a real Kubernetes, which the person who runs this names: CI has none.

MESHMART_TEST_CONTEXT=kind-meshmart [MESHMART_TEST_NAMESPACE=meshmart] make test-cluster
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

CONTEXT, NAMESPACE = "MESHMART_TEST_CONTEXT", "MESHMART_TEST_NAMESPACE"


@dataclass(frozen=True)
class Release:
    """The command, with the context of a Kubernetes that the chart is installed on."""

    context: str
    namespace: str

    def run(self, *arguments: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Runs `meshmart ARGUMENTS --context …`, whatever comes of it."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout)

    def good(self, *arguments: str, timeout: float = 300.0) -> str:
        """What it printed; its failure fails the test."""
        done = self.run(*arguments, timeout=timeout)
        if done.returncode != 0:
            pytest.fail(
                f"meshmart {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def command(self, *arguments: str) -> list[str]:
        place = ["--context", self.context, "--namespace", self.namespace]
        return [sys.executable, "-m", "meshmart", *arguments, *place]

    def replicas(self, service: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.good("status", "--json"))["services"][service][
            "replicas"
        ]
        return found


@pytest.fixture(scope="session")
def release() -> Release:
    if not (context := os.environ.get(CONTEXT)):
        pytest.skip(f"no Kubernetes: {CONTEXT} names no context of a kubeconfig")
    return Release(context, os.environ.get(NAMESPACE, "meshmart"))
