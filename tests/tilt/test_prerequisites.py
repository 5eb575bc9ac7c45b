"""k8s/: the cluster, and what the chart does not own."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.tilt.api import kustomize_command
from tests.tilt.session import WORKLOADS
from tests.tilt.tools import need

ROOT = Path(__file__).parents[2]
VERSIONS = yaml.safe_load((ROOT / "k8s/versions.yaml").read_text())
OVERLAYS = sorted(each.parent for each in (ROOT / "k8s").rglob("kustomization.yaml"))
REGISTRY, CLUSTER = yaml.safe_load_all((ROOT / "k8s/cluster.yaml").read_text())


def built(overlay: Path) -> list[dict[str, Any]]:
    """What a real kustomize makes of it."""
    need(kustomize_command()[0])
    done = subprocess.run([*kustomize_command(), overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda each: str(each.relative_to(ROOT)))
@pytest.mark.parametrize("version", ["1.32", "1.36"])
def test_a_real_kustomize_builds_valid_objects(overlay: Path, version: str) -> None:
    objects = built(overlay)
    assert objects
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda each: str(each.relative_to(ROOT)))
def test_there_is_no_second_truth_for_workloads(overlay: Path) -> None:
    assert not [each["kind"] for each in built(overlay) if each["kind"] in WORKLOADS]


def test_the_namespaces_refuse_pods_that_are_not_restricted() -> None:
    namespaces = [each for each in built(ROOT / "k8s/base") if each["kind"] == "Namespace"]
    assert {each["metadata"]["name"] for each in namespaces} == {"meshmart", "cert-manager"}
    for each in namespaces:
        assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_cluster_is_made_of_the_pinned_images() -> None:
    assert REGISTRY["image"] == VERSIONS["registryImage"]
    nodes = CLUSTER["kindV1Alpha4Cluster"]["nodes"]
    assert {each["image"] for each in nodes} == {VERSIONS["nodeImage"]}
    assert "@sha256:" in VERSIONS["nodeImage"]


def test_the_cluster_has_its_registry_and_the_name_of_its_context() -> None:
    assert CLUSTER["registry"] == REGISTRY["name"]
    assert CLUSTER["name"] == "kind-" + CLUSTER["kindV1Alpha4Cluster"]["name"]


def test_the_shop_s_node_port_is_mapped_to_the_host() -> None:
    (service,) = [each for each in built(ROOT / "k8s/overlays/kind") if each["kind"] == "Service"]
    mapped = CLUSTER["kindV1Alpha4Cluster"]["nodes"][0]["extraPortMappings"]
    assert [each["containerPort"] for each in mapped] == [service["spec"]["ports"][0]["nodePort"]]
    assert {each["listenAddress"] for each in mapped} == {"127.0.0.1"}
