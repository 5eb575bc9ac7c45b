"""The version of grpcio that the shop runs on, and the setting that holds for that version only."""

import re
from pathlib import Path

import grpc
import pytest

from grpcmesh.grpc_environment import EXPERIMENTS, OWN_POLLER, prepare

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_pin_is_a_version_that_knows_the_experiment_which_the_shop_sets(lock: str) -> None:
    """If you move the pin: grpcio 1.83 and newer do not know it, and log an error in each process.

    Then take `GRPC_EXPERIMENTS` out of `helm/meshmart/templates/_pods.tpl`, `local/environment.py` and
    `grpcmesh/grpc_environment.py`, and measure what a call costs without it: bench/grpcio.md.
    """
    found = re.search(r"^grpcio==(\S+) ", (ROOT / lock).read_text(), re.MULTILINE)
    assert found is not None
    assert found[1].startswith("1.82.")
    assert found[1] == grpc.__version__
    environ: dict[str, str] = {}
    prepare(environ, imported=False, version=found[1])
    assert environ[EXPERIMENTS] == OWN_POLLER
