"""The manifests of mesh/docs/kubernetes.md are valid, and what the library expects of such a service."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from grpcmesh.authz.policy import Policy
from grpcmesh.config import MeshConfig
from grpcmesh.identity import server_identity

PAGE = Path(__file__).parents[2] / "mesh" / "docs" / "kubernetes.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
MANIFESTS: dict[str, Any] = {found["kind"]: found for found in map(yaml.safe_load, BLOCKS)}
POD = MANIFESTS["Deployment"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
#: What the downward API gives.
FIELDS = {"metadata.namespace": "shop", "metadata.name": "greeter-1"}


def config() -> MeshConfig:
    """Return the settings of the container, read as its process reads them."""
    environ = {
        each["name"]: each.get("value") or FIELDS[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in CONTAINER["env"]
    }
    return MeshConfig.from_env(environ)


def path_of(name: str) -> str:
    """Return where a volume is mounted, by what it is made of."""
    (volume,) = (each["name"] for each in POD["spec"]["volumes"] if name in str(each))
    (mounted,) = (each for each in CONTAINER["volumeMounts"] if each["name"] == volume)
    assert "subPath" not in mounted
    return str(mounted["mountPath"])


@pytest.mark.parametrize("kind", ["Service", "ConfigMap", "Deployment"])
def test_a_manifest_is_what_kubernetes_knows(kind: str) -> None:
    kubernetes_validate.validate(MANIFESTS[kind], kubernetes_validate.latest_version(), strict=True)


def test_callers_find_every_pod_by_the_name_that_they_look_up() -> None:
    service = MANIFESTS["Service"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == POD["metadata"]["labels"]
    (port,) = service["spec"]["ports"]
    assert port["port"] == config().resolver.port
    assert config().dns_name("greeter") == f"{service['metadata']['name']}.shop.svc.cluster.local."


def test_the_certificate_has_the_names_that_callers_expect() -> None:
    certificate = MANIFESTS["Certificate"]["spec"]
    expected = server_identity(config(), "greeter")
    assert certificate["dnsNames"] == [expected.dns_name]
    assert certificate["uris"] == [expected.spiffe_id]
    assert {"digital signature", "server auth", "client auth"} <= set(certificate["usages"])
    assert path_of(certificate["secretName"]) == str(config().identity.directory)


def test_the_policy_is_where_the_process_reads_it() -> None:
    ((name, text),) = MANIFESTS["ConfigMap"]["data"].items()
    assert Policy.parse(text).workloads
    assert config().authz.policy_file == Path(path_of(MANIFESTS["ConfigMap"]["metadata"]["name"])) / name


def test_ports_and_times_of_the_pod_are_those_of_the_settings() -> None:
    ports = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
    for name, address in (
        ("grpc", config().address), ("health", config().health.address), ("admin", config().admin.address),
    ):  # fmt: skip
        assert address == f"[::]:{ports[name]}"
    assert CONTAINER["readinessProbe"]["grpc"]["port"] == ports["health"]
    drain = config().drain
    assert POD["spec"]["terminationGracePeriodSeconds"] > drain.delay + drain.grace + 1
