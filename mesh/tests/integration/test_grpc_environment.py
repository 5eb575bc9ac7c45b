"""What `import grpcmesh` asks gRPC for. gRPC reads its environment once, so each test has its own process."""

import os
import subprocess
import sys

import grpc
import pytest

from grpcmesh.grpc_environment import CIPHER_SUITES, EXPERIMENTS, FORK_SUPPORT, OWN_POLLER, prepare

OURS = {CIPHER_SUITES, EXPERIMENTS, FORK_SUPPORT}


@pytest.mark.parametrize(
    ("version", "experiments"),
    [
        ("1.82.3", OWN_POLLER), ("1.82.10", OWN_POLLER), ("1.820.0", None), ("1.83.2", None),
        ("1.85.3", None), ("2.82.0", None), ("", None),
    ],
)  # fmt: skip
def test_only_a_version_that_knows_the_experiment_is_asked_for_it(
    version: str, experiments: str | None
) -> None:
    environ: dict[str, str] = {}
    prepare(environ, imported=False, version=version)
    assert environ.get(EXPERIMENTS) == experiments


def test_variables_that_are_set_are_left_alone() -> None:
    own = {CIPHER_SUITES: "HIGH", FORK_SUPPORT: "1", EXPERIMENTS: "tcp_frame_size_tuning"}
    environ = dict(own)
    prepare(environ, imported=False, version="1.82.3")
    assert environ == own


@pytest.mark.parametrize(("given", "expected"), [(None, OWN_POLLER), ("", "")])
def test_grpc_knows_what_it_is_asked_for(given: str | None, expected: str) -> None:
    """gRPC logs an error for an experiment that it does not know."""
    program = (
        "import os, grpcmesh, grpc; grpc.insecure_channel('127.0.0.1:1').close();"
        f"print(os.environ.get('{EXPERIMENTS}', 'unset'))"
    )
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    environ |= {} if given is None else {EXPERIMENTS: given}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    known = grpc.__version__.startswith("1.82.")
    assert done.stdout.strip() == (expected if known or given is not None else "unset")
    assert not done.stderr
