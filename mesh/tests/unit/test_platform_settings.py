"""What the platform says of a process: the namespace of its pod."""

from pathlib import Path

import pytest

from grpcmesh import platform_settings
from grpcmesh.ca import CertificateAuthority
from grpcmesh.config import ConfigError, MeshConfig

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the kubelet writes into a pod with a service account token."""
    path = tmp_path / "namespace"
    path.write_text("shop")
    monkeypatch.setattr(platform_settings, "NAMESPACE_FILE", path)
    return path


def namespace(environ: dict[str, str], **defaults: str) -> str:
    return MeshConfig.from_env(environ, service="ping", **defaults).namespace


def test_a_process_outside_a_pod_is_in_the_namespace_default(file: Path) -> None:
    assert namespace({}) == "default"
    assert CertificateAuthority().spiffe_id("ping") == "spiffe://cluster.local/ns/default/sa/ping"


def test_a_pod_is_in_its_own_namespace(file: Path) -> None:
    config = MeshConfig.from_env(POD, service="ping")
    assert config.own_name == "ping.shop.svc.cluster.local"
    assert config.origins["MESH_NAMESPACE"] == str(file)


def test_settings_and_the_program_override_the_pod(file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "mesh.toml"
    settings.write_text('namespace = "of-the-file"\n')
    assert namespace({**POD, "MESH_NAMESPACE": "other"}) == "other"
    assert namespace({**POD, "MESH_CONFIG_FILE": str(settings)}) == "of-the-file"
    assert namespace(POD, namespace="of-the-program") == "of-the-program"


def test_a_pod_without_a_service_account_token_has_the_default(file: Path) -> None:
    file.unlink()
    assert namespace(POD) == "default"


def test_a_file_that_cannot_be_read_is_told(file: Path) -> None:
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match=f"MESH_NAMESPACE: set it, because {file} gives none: Is a dir"):
        namespace(POD)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a b", b"x" * 10_000_000])
def test_a_file_that_holds_no_name_is_told(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="MESH_NAMESPACE"):
        namespace(POD)
