"""Containers of it, over a read-only root."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from local.catalog import AUDIENCE, ISSUER, NAMESPACE, SHOP
from local.keys import ensure_signing_key
from local.state import StateDir
from tests.image.conftest import MakeContainer
from tests.image.container import USER

CHECK = """
import grpc
from grpc_health.v1 import health_pb2 as pb, health_pb2_grpc
with grpc.insecure_channel("localhost:50052") as channel:
    answer = health_pb2_grpc.HealthStub(channel).Check(pb.HealthCheckRequest(), timeout=5)
assert answer.status == pb.HealthCheckResponse.SERVING, answer
"""
CALL_WITH_TLS = """
import grpc
from pathlib import Path
from grpc_health.v1 import health_pb2 as pb, health_pb2_grpc
ca, key, crt = (Path("/tls", name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
options = [("grpc.ssl_target_name_override", "product.meshmart.svc.cluster.local")]
credentials = grpc.ssl_channel_credentials(ca, key, crt)
with grpc.secure_channel("localhost:50051", credentials, options) as channel:
    answer = health_pb2_grpc.HealthStub(channel).Check(pb.HealthCheckRequest(), timeout=5)
assert answer.status == pb.HealthCheckResponse.SERVING, answer
"""
PAGE = "import urllib.request as u; assert u.urlopen('http://localhost:8080/login', timeout=5).status == 200"


def member(service: str, host: str) -> dict[str, str]:
    """What a pod's manifest says."""
    return {
        "MESH_SERVICE": service,
        "MESH_NAMESPACE": NAMESPACE,
        "MESH_ADDRESS": f"{host}:50051",
        "MESH_HEALTH_ADDRESS": f"{host}:50052",
        "MESH_ADMIN_ADDRESS": f"{host}:9090",
        "MESH_ADMIN_METRICS_ONLY": "true",
        "MESH_IDENTITY_DIRECTORY": "/tls",
        "MESH_AUTHZ_POLICY_FILE": "/mesh/policy.toml",
        "MESH_AUTH_ISSUER": ISSUER,
        "MESH_AUTH_AUDIENCE": AUDIENCE,
        "MESHMART_HTTP_ADDRESS": f"{host}:8080",
        "MESHMART_DATA_DIR": "/data",
        "MESHMART_SIGNING_KEYS_DIR": "/data/keys",
    }


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A ConfigMap's folder."""
    (tmp_path / "policy").mkdir()
    source = Path(__file__).parents[2] / "services/policy.toml"
    (tmp_path / "policy/policy.toml").write_bytes(source.read_bytes())
    return tmp_path / "policy"


def test_the_command_tells_its_verbs(container: MakeContainer) -> None:
    done = container("help").run("-m", "meshmart", "--help")
    assert done.returncode == 0, done.stderr
    assert "tour" in done.stdout


def test_the_root_cannot_be_written_to_and_tmp_can(container: MakeContainer) -> None:
    program = "open('/tmp/a', 'w').close(); open('/opt/meshmart/a', 'w')"
    done = container("writes").run("-c", program)
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr
    assert "/opt/meshmart/a" in done.stderr


def test_it_has_what_asyncio_threads_tls_and_sqlite_load(container: MakeContainer) -> None:
    program = "import bz2, ctypes, lzma, socket, sqlite3, ssl, uuid, zlib; socket.getaddrinfo('localhost', 1)"
    done = container("loads").run("-c", program)
    assert done.returncode == 0, done.stderr


def test_the_command_can_speak_to_kubernetes(container: MakeContainer) -> None:
    done = container("kubernetes").run("-m", "meshmart", "status", "--context", "nowhere")
    assert "the kubeconfig's context 'nowhere' cannot be used" in done.stderr, done.stderr


@pytest.mark.parametrize("service", SHOP)
def test_a_service_serves_on_every_address_and_drains(
    service: str, container: MakeContainer, certificates: Callable[[str], Path], data: Path, policy: Path
) -> None:
    host = "[::]" if service == "product" else "0.0.0.0"
    key = ensure_signing_key(StateDir(data))
    for path in (key.parent, key):
        os.chown(path, USER, USER)
    here = {"tls": certificates(service), "data": data, "mesh": policy}
    if SHOP[service].stores:
        done = container("migrate", member(service, host), **here).run("-m", "services.migrate", service)
        assert done.returncode == 0, done.stderr
    with container(service, member(service, host), **here).running("-m", SHOP[service].module) as running:
        running.until(CHECK)
        if service == "product":
            running.until(CALL_WITH_TLS)
        if SHOP[service].web:
            running.until(PAGE)
