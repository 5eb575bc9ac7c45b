"""Connect's conformance suite over gRPC, for our server and client and for those of plain grpc.aio.

Known failures are the same few lines for both, and one more for bare grpc.aio. A case that fails without
being listed fails the test, and so does a listed one that passes.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import gotools
from tests.conformance import protos, warm

HERE = Path(__file__).parent
MODULE = "connectrpc.com/conformance"
VERSION = "v1.0.7"
FILES = [
    f"connectrpc/conformance/v1/{n}.proto" for n in ("config", "service", "server_compat", "client_compat")
]
#: grpc.aio never answers a unary request that ends without a message, and the reference client waits for it
#: until the runner ends the whole run: not run. The mesh's server is the same there as grpc.aio's.
NEVER_ANSWERED = "**/no-request"
#: This case runs alone: C-core's HPACK decoder then rejects encodings of later calls on its connection.
SPOILS_THE_CONNECTION = "**/unexpected-compression"
#: The most seconds that a run of the suite may take. It takes about thirty.
TIMEOUT = 1800


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate Python code of the suite's protos, and return its directory."""
    directory = tmp_path_factory.mktemp("connect")
    source = gotools.module(MODULE, VERSION) / "proto"
    descriptors = directory / "connect.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", "--include_imports"]
    subprocess.run([*command, f"--descriptor_set_out={descriptors}", *FILES], check=True, timeout=600)
    protos.generate(descriptors, directory / "protos", *FILES)
    return directory / "protos"


def patterns(name: str) -> list[str]:
    """Return the lines of a list in this directory, or none if the file does not exist."""
    file = HERE / f"connect-{name}.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line for line in lines if not line.startswith("#")]


def run(generated: Path, mode: str, kind: str, *flags: str) -> None:
    """Run the suite against one of our programs. It fails unless the failing cases are those of the lists."""
    runner = gotools.install(f"{MODULE}/cmd/connectconformance", VERSION)
    failing = [*patterns(f"{mode}-failing"), *patterns(f"{mode}-failing-{kind}")]
    lists = [f"--known-failing={pattern}" for pattern in failing]
    lists += [f"--known-flaky={pattern}" for pattern in patterns(f"{mode}-flaky")]
    module = f"tests.conformance.connect_{mode}"
    with warm.started(module, kind, CONFORMANCE_PROTOS=str(generated)) as program:
        done = subprocess.run(
            [runner, "--conf", HERE / "connect.yaml", "--mode", mode, *lists, *flags, "--", *program],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    print(done.stdout[-300:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("kind", ["mesh", "bare"])
def test_server(generated: Path, kind: str) -> None:
    run(generated, "server", kind, f"--skip={NEVER_ANSWERED}", f"--skip={SPOILS_THE_CONNECTION}")


@pytest.mark.parametrize("kind", ["mesh", "bare"])
def test_server_and_an_encoding_it_does_not_know(generated: Path, kind: str) -> None:
    run(generated, "server", kind, f"--run={SPOILS_THE_CONNECTION}")


@pytest.mark.parametrize("kind", ["mesh", "bare"])
def test_client(generated: Path, kind: str) -> None:
    run(generated, "client", kind)
