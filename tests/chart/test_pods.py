"""Every pod, under every set of values."""

import re
from collections.abc import Iterator
from math import ceil

import pytest

from grpcmesh import member, mesh
from grpcmesh.config import MeshConfig
from grpcmesh.grpc_environment import CIPHER_SUITES, EXPERIMENTS, OWN_POLLER, TLS13_ONLY
from grpcmesh.server import server
from local.catalog import AUDIENCE, ERROR_DOMAIN, ISSUER
from tests.chart.helm import Helm, Manifest, Rendered, containers, environment

ENDS_BY_ITSELF = ("Job", "CronJob", "Pod")


def each_container(rendered: Rendered) -> Iterator[tuple[str, Manifest]]:
    for name, pod in rendered.pods():
        for container in containers(pod):
            yield f"{name}: {container['name']}", container


def test_the_restricted_standard_holds_for_every_pod(rendered: Rendered) -> None:
    for name, pod in rendered.pods():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"].get("runAsUser", 1) > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        kinds = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
        claimed = {"persistentVolumeClaim"} if name == "Deployment/console" else set[str]()
        assert kinds <= {"configMap", "secret", "emptyDir", "projected", *claimed}, name
    for name, container in each_container(rendered):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert security.get("privileged", False) is False, name
        assert not [p for p in container.get("ports", ()) if "hostPort" in p], name


def test_no_root_file_system_is_written(rendered: Rendered) -> None:
    for name, container in each_container(rendered):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


def test_every_image_is_pinned(rendered: Rendered) -> None:
    for name, container in each_container(rendered):
        assert re.search(r"(:[^/:]*\d[^/:]*|@sha256:[0-9a-f]{64})$", container["image"]), name


def test_every_container_says_what_it_needs(rendered: Rendered) -> None:
    for name, container in each_container(rendered):
        resources = container["resources"]
        assert resources["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in resources["limits"], name


def test_every_container_that_stays_is_probed_in_three_ways(rendered: Rendered) -> None:
    for name, container in each_container(rendered):
        if name.split("/")[0] in ENDS_BY_ITSELF:
            continue
        assert container.keys() >= {"startupProbe", "readinessProbe", "livenessProbe"}, name


def test_services_are_probed_by_native_grpc_on_the_health_port(rendered: Rendered) -> None:
    for deployment in rendered.services().values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[kind]["grpc"] == {"port": 50052}


def test_only_those_who_talk_to_the_kubernetes_api_have_a_token(rendered: Rendered) -> None:
    allowed = {
        "Deployment/client",
        "Deployment/console",
        "Deployment/prometheus",
        "Job/cleanup",
        "Job/certificates",
        "Job/credentials",
    }
    allowed |= {"CronJob/certificate-renewal"}
    have = {name for name, pod in rendered.pods() if pod["spec"].get("automountServiceAccountToken", True)}
    assert have <= allowed
    assert not [a for a in rendered.of("ServiceAccount").values() if a["automountServiceAccountToken"]]


def test_no_role_reaches_beyond_the_namespace_or_says_everything(rendered: Rendered) -> None:
    assert not rendered.of("ClusterRole")
    assert not rendered.of("ClusterRoleBinding")
    for role in rendered.of("Role").values():
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])


def test_no_pod_gets_the_variables_of_other_services(rendered: Rendered) -> None:
    # A Service named mesh-… would set MESH_…, and the mesh refuses settings that it does not know.
    for name, pod in rendered.pods():
        assert pod["spec"]["enableServiceLinks"] is False, name


def test_the_mesh_takes_every_setting_that_it_is_given(rendered: Rendered) -> None:
    for name, container in each_container(rendered):
        given = environment(container)
        if "MESH_SERVICE" not in given:
            continue
        config = MeshConfig.from_env(given)
        assert given[CIPHER_SUITES] == TLS13_ONLY, name
        assert given[EXPERIMENTS] == OWN_POLLER, name
        assert config.namespace == "shop", name
        if name.startswith("Deployment/") and not {"client", "console"} & {container["name"]}:
            assert config.service == container["name"]
            assert config.authz.policy_file is not None
            assert (config.auth.issuer, config.auth.audience) == (ISSUER, AUDIENCE)
            assert config.server.error_domain == ERROR_DOMAIN


def test_every_member_of_the_mesh_knows_its_zone_where_the_cluster_tells_it(rendered: Rendered) -> None:
    for name, container in each_container(rendered):
        sources = {v["name"]: v["valueFrom"] for v in container.get("env", ()) if "valueFrom" in v}
        if "MESH_REPLICA" in sources:
            path = "metadata.labels['topology.kubernetes.io/zone']"
            assert sources["MESH_ZONE"] == {"fieldRef": {"fieldPath": path}}, name


def test_every_volume_is_mounted_and_every_mount_has_a_volume(rendered: Rendered) -> None:
    for name, pod in rendered.pods():
        volumes = {v["name"] for v in pod["spec"].get("volumes", ())}
        if name == "StatefulSet/postgres" and "data" not in volumes:
            volumes.add("data")  # claimed
        mounts = [m for c in containers(pod) for m in c.get("volumeMounts", ())]
        assert {m["name"] for m in mounts} == volumes, name
        assert not [m for m in mounts if "subPath" in m], f"{name}: a subPath is never updated"


def test_every_secret_configmap_and_account_that_is_named_is_there(
    rendered: Rendered, each_helm: Helm
) -> None:
    certificates = {c["spec"]["secretName"] for c in rendered.of("Certificate").values()}
    roles = rendered.of("Role")
    made = (
        {n for r in roles["credentials"]["rules"] for n in r.get("resourceNames", ())}
        if "credentials" in roles
        else set()
    )
    for name, pod in rendered.pods():
        account = pod["spec"].get("serviceAccountName")
        assert account is None or account in rendered.of("ServiceAccount"), name
        for volume in pod["spec"].get("volumes", ()):
            if "configMap" in volume and not volume["configMap"].get("optional"):
                assert volume["configMap"]["name"] in {*rendered.of("ConfigMap"), "roots"}, name
            if "secret" in volume and certificates:
                known = {*certificates, *made, *rendered.of("Secret"), "keys", "db-client", "mail", "mail-ca"}
                assert volume["secret"]["secretName"] in known, name


def test_the_grace_covers_all_that_leaving_may_take(rendered: Rendered) -> None:
    for name, deployment in rendered.services().items():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        drain = MeshConfig.from_env(environment(container)).drain
        pre_stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        # drain() and then what the service entered, such as the pages' server; then channels and telemetry.
        needed = pre_stop + drain.delay + drain.grace + drain.grace + mesh.RESOURCES_TIMEOUT
        needed += server._LAST_WORD + member.CHANNEL_GRACE
        assert pod["terminationGracePeriodSeconds"] >= ceil(needed), name


def test_pages_wait_before_they_leave_because_others_than_the_mesh_reach_them(defaults: Rendered) -> None:
    waiting = {
        name
        for name, d in defaults.services().items()
        if "preStop" in d["spec"]["template"]["spec"]["containers"][0].get("lifecycle", {})
    }
    assert waiting == {"storefront"}


def test_a_grace_that_is_too_short_is_refused(each_helm: Helm) -> None:
    refused = each_helm.template("services.order.terminationGracePeriodSeconds=20")
    assert refused.returncode != 0
    assert "services.order.terminationGracePeriodSeconds: 20 is less than the 33 seconds" in refused.stderr
    longer = each_helm.render("services.order.terminationGracePeriodSeconds=120")
    assert longer.services()["order"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 120


def test_a_rollout_never_has_fewer_pods_than_before(rendered: Rendered) -> None:
    for deployment in rendered.services().values():
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert deployment["spec"]["minReadySeconds"] >= 5


def test_replicas_are_left_to_the_autoscaler_where_there_is_one(each_helm: Helm) -> None:
    scaled = each_helm.render("services.product.autoscaling.enabled=true")
    assert scaled.of("HorizontalPodAutoscaler").keys() == {"product"}
    assert "replicas" not in scaled.services()["product"]["spec"]
    assert scaled.services()["order"]["spec"]["replicas"] == 2


def test_whoever_has_more_than_one_pod_has_a_disruption_budget(rendered: Rendered) -> None:
    budgets = rendered.of("PodDisruptionBudget")
    for name in budgets:
        spec = rendered.services()[name]["spec"]
        assert spec.get("replicas", 2) > 1
        assert budgets[name]["spec"]["selector"] == spec["selector"]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_selectors_select_the_pods_and_only_them(rendered: Rendered, kind: str) -> None:
    selectors = []
    for name, o in rendered.of(kind).items():
        selector = o["spec"]["selector"]["matchLabels"]
        assert selector.items() <= o["spec"]["template"]["metadata"]["labels"].items(), name
        selectors.append(tuple(sorted(selector.items())))
    assert len(selectors) == len(set(selectors))
