"""The console: off unless asked for, behind a log-in, and with no more rights than it uses."""

import re
from typing import Any

import yaml

from grpcmesh.config import MeshConfig
from local.catalog import ADMIN_PORT, MESH_PORT, SHOP
from meshmart.console.experiments.program import GRACE
from meshmart.console.gate import HEALTH
from meshmart.console.server import given_renew_before
from tests.chart.helm import CHART, Helm, Manifest, Rendered, environment
from tests.chart.test_network import edges, ports

ON = "console.enabled=true"
SWITCHES = "console.switches.enabled=true"
PORT = 8081
Rule = tuple[str, str, str, bool]
"""API group, resource, verb, and whether it is restricted to the shop's own objects by name."""

#: What the console asks of the Kubernetes API to show the mesh, and why.
LOOKING: dict[Rule, str] = {
    ("", "pods", "list", False): "the replicas, at the start and after a watch has failed",
    ("", "pods", "watch", False): "the replicas, as they change",
    ("", "services", "list", False): "where the trace store and Prometheus are",
    ("", "services", "watch", False): "the same, as it changes",
    ("apps", "deployments", "list", False): "the services",
    ("apps", "deployments", "watch", False): "the services, as they change",
    ("", "pods/log", "get", False): "the last log lines of replicas: names of pods are not known beforehand",
}
#: What its switches ask for besides, and why.
SWITCHING: dict[Rule, str] = {
    ("", "pods", "delete", False): "kill: names of pods are not known beforehand",
    (
        "",
        "pods",
        "patch",
        False,
    ): "rotate: an annotation, so that the kubelet projects the new Secret at once",
    ("apps", "deployments", "get", True): "scale, restart: what there is, and whether it has rolled out",
    ("apps", "deployments", "patch", True): "scale, restart",
    ("autoscaling", "horizontalpodautoscalers", "list", False): "scale: refused where an autoscaler decides",
    (
        "cert-manager.io",
        "certificates",
        "list",
        False,
    ): "rotate: which there are, and whether they are issued",
    ("cert-manager.io", "certificates", "get", True): "rotate: the version that is changed",
    ("cert-manager.io", "certificates/status", "patch", True): "rotate: asks cert-manager to issue again",
}


def rules(rendered: Rendered) -> set[Rule]:
    return {
        (group, resource, verb, "resourceNames" in rule)
        for rule in rendered.of("Role")["console"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def pod(rendered: Rendered) -> Manifest:
    spec: Manifest = rendered.of("Deployment")["console"]["spec"]["template"]["spec"]
    return spec


def rows(table: str) -> set[tuple[str, ...]]:
    """The cells of the first two columns of a table of docs/console.md that follows a heading."""
    text = (CHART.parents[1] / "docs" / "console.md").read_text()
    part = text.partition(f"### {table}\n")[2].partition("\n#")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return {tuple(cell.strip().replace("`", "") for cell in line.split("|")[1:3]) for line in lines}


def test_there_is_no_console_unless_it_is_asked_for(defaults: Rendered) -> None:
    assert not [o for o in defaults.objects if o["metadata"]["name"] == "console"]
    assert "MESH_ADMIN_TOKEN_FILE" not in defaults.text
    assert "--admin-token" not in defaults.text
    demo = yaml.safe_load((CHART / "demo.yaml").read_text())["console"]
    assert (demo["enabled"], demo["switches"]["enabled"]) == (True, True)


def test_its_role_has_what_it_uses_and_nothing_else(each_helm: Helm) -> None:
    assert rules(each_helm.render(ON)) == LOOKING.keys()
    assert rules(each_helm.render(ON, SWITCHES)) == {*LOOKING, *SWITCHING}
    assert rules(each_helm.render(ON, SWITCHES, 'tls.mode="generated"')) == {
        rule for rule in (*LOOKING, *SWITCHING) if rule[0] != "cert-manager.io"
    }


def test_it_changes_the_shops_own_objects_only_and_reads_no_secret(each_helm: Helm) -> None:
    own = {"deployments": set(SHOP), "certificates": {*SHOP, "client", "outsider", "console"}}
    for rule in each_helm.render(ON, SWITCHES).of("Role")["console"]["rules"]:
        assert not {"secrets", "pods/exec", "*"} & {*rule["resources"], *rule["verbs"], *rule["apiGroups"]}
        if "resourceNames" in rule:
            assert set(rule["resourceNames"]) == own[rule["resources"][0].partition("/")[0]]
    binding = each_helm.render(ON).of("RoleBinding")["console"]
    assert binding["roleRef"]["name"] == "console"
    assert [s["name"] for s in binding["subjects"]] == ["console"]


def test_the_docs_list_its_rights(each_helm: Helm) -> None:
    assert {(f"{g}/{r}".lstrip("/"), v) for g, r, v, _ in {*LOOKING, *SWITCHING}} == {
        (resource, verb) for resource, verbs in rows("RBAC") for verb in re.split(r", *", verbs)
    }


def test_only_with_switches_it_has_the_operators_certificate(each_helm: Helm) -> None:
    def certificates(rendered: Rendered) -> set[str]:
        found = {v["secret"]["secretName"] for v in pod(rendered)["volumes"] if "secret" in v}
        return found - {"meshmart-admin-token"}

    assert certificates(each_helm.render(ON)) == {"console-tls"}
    assert certificates(each_helm.render(ON, SWITCHES)) == {"console-tls", "client-tls", "outsider-tls"}
    uris = each_helm.render(ON).of("Certificate")["console"]["spec"]["uris"]
    assert uris == ["spiffe://cluster.local/ns/shop/sa/console"]


def test_it_wants_a_log_in_and_is_probed_without_one(each_helm: Helm) -> None:
    (container,) = pod(each_helm.render(ON))["containers"]
    assert {"--login", "--look-only"} <= {*container["args"]}
    (switching,) = pod(each_helm.render(ON, SWITCHES))["containers"]
    assert "--login" in switching["args"]
    assert "--look-only" not in switching["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": HEALTH, "port": "http"}
    given = environment(container)
    assert given["MESHMART_CLUSTER"] == "kubernetes"
    config = MeshConfig.from_env(given)
    assert (config.service, config.namespace) == ("console", "shop")
    assert str(config.identity.directory) == "/var/run/mesh/certs/console"


def test_a_scene_can_put_back_what_it_changed_before_the_pod_is_killed(each_helm: Helm) -> None:
    assert pod(each_helm.render(ON, SWITCHES))["terminationGracePeriodSeconds"] >= GRACE + 5


def test_its_links_are_for_browsers(each_helm: Helm) -> None:
    shop = 'ingress={"enabled":true,"host":"shop.example.com"}'
    (container,) = pod(each_helm.render(ON, shop))["containers"]
    given = {k: v for k, v in environment(container).items() if k.endswith("_URL")}
    assert given == {
        "MESHMART_STOREFRONT_URL": "https://shop.example.com",
        "MESHMART_TRACES_URL": "http://127.0.0.1:16686",
    }


def test_it_knows_when_certificates_are_renewed_if_the_chart_does(each_helm: Helm) -> None:
    def told(*values: str) -> str | None:
        (container,) = pod(each_helm.render(ON, *values))["containers"]
        return environment(container).get("MESHMART_CONSOLE_RENEW_BEFORE")

    assert given_renew_before({"MESHMART_CONSOLE_RENEW_BEFORE": told() or ""}) == 8 * 3600
    assert told('tls.mode="generated"', 'tls.renewBefore="1h30m"') == "5400"
    assert told('tls.mode="existing-secret"') is None


def test_services_take_the_token_that_the_console_presents(each_helm: Helm) -> None:
    for values, secret in ((), "meshmart-admin-token"), (('console.adminTokenSecret="mine"',), "mine"):
        rendered = each_helm.render(ON, *values)
        for name in (*SHOP, "console"):
            spec = rendered.of("Deployment")[name]["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            config = MeshConfig.from_env(environment(container))
            mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
            assert str(config.admin.token_file) == f"{mounts['admin-token']}/token"
            assert not config.admin.metrics_token  # Prometheus has none
            volumes = {v["name"]: v for v in spec["volumes"]}
            assert volumes["admin-token"]["secret"]["secretName"] == secret
        made = (
            "--admin-token"
            in rendered.of("Job")["credentials"]["spec"]["template"]["spec"]["containers"][0]["args"]
        )
        assert made == (not values)


def test_the_log_of_actions_is_on_a_claim_that_outlives_the_release(each_helm: Helm) -> None:
    def state(*values: str) -> Any:
        rendered = each_helm.render(ON, *values)
        claims = rendered.of("PersistentVolumeClaim")
        assert not claims or claims["console"]["metadata"]["annotations"] == {
            "helm.sh/resource-policy": "keep"
        }
        (volume,) = (v for v in pod(rendered)["volumes"] if v["name"] == "state")
        return volume.get("persistentVolumeClaim")

    assert state(SWITCHES) == {"claimName": "console"}
    assert state(SWITCHES, "console.persistence.enabled=false") is None
    assert state() is None
    deployment = each_helm.render(ON).of("Deployment")["console"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})


def test_who_reaches_it_and_whom_it_reaches(each_helm: Helm) -> None:
    looking, switching = each_helm.render(ON), each_helm.render(ON, SWITCHES)
    telemetry = {("console", "prometheus")}
    for rendered, called in (looking, {"user"}), (switching, set(SHOP)):
        for port, expected in (
            (ADMIN_PORT, {("console", n) for n in SHOP}),
            (
                MESH_PORT,
                {("console", n) for n in called},
            ),
        ):
            entering, leaving = edges(rendered, port)
            assert {e for e in entering if e[0] == "console"} == expected
            assert {e for e in leaving if e[0] == "console"} - telemetry == expected
        policy = rendered.of("NetworkPolicy")["console"]["spec"]
        assert policy["ingress"] == []
        reached = {port for rule in policy["egress"] for port in ports(rule)}
        assert reached == {ADMIN_PORT, MESH_PORT, 16686, 443, 6443}
    assert not rows("NetworkPolicy") - {
        ("admin ports of every service", "9090"),
        ("the user service", "50051"),
        ("every service", "50051"),
        ("the bundled Jaeger", "16686"),
        ("the bundled Prometheus", "9090"),
        ("the Kubernetes API", "443, 6443"),
    }


def test_those_who_may_open_it_are_named(each_helm: Helm) -> None:
    peer = '[{"namespaceSelector":{"matchLabels":{"name":"ingress"}}}]'
    rendered = each_helm.render(ON, f"networkPolicy.consoleFrom={peer}")
    (rule,) = rendered.of("NetworkPolicy")["console"]["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]
    assert ports(rule) == {PORT}


def test_behind_an_ingress_it_knows_its_name(each_helm: Helm) -> None:
    ingress = 'console.ingress={"enabled":true,"host":"console.example.com","tlsSecret":"console-cert"}'
    refused = each_helm.template(ON, ingress)
    assert "networkPolicy.consoleFrom: must name" in refused.stderr
    refused = each_helm.template(ON, "console.ingress.enabled=true", "networkPolicy.enabled=false")
    assert "console.ingress.host: must be set" in refused.stderr
    origins = {
        (ingress,): "https://console.example.com",
        (ingress, 'console.origin="http://console.example.com"'): "http://console.example.com",
        ('console.origin="https://console.example.com:8443"',): "https://console.example.com:8443",
    }
    for values, origin in origins.items():
        rendered = each_helm.render(ON, "networkPolicy.enabled=false", *values)
        (container,) = pod(rendered)["containers"]
        assert environment(container)["MESHMART_CONSOLE_ORIGIN"] == origin
    assert each_helm.template(ON, 'console.origin="console.example.com"').returncode != 0
    rendered = each_helm.render(ON, "networkPolicy.enabled=false", ingress)
    (rule,) = rendered.of("Ingress")["console"]["spec"]["rules"]
    assert rule["host"] == "console.example.com"


def test_a_shop_without_user_service_has_nobody_who_could_log_in(each_helm: Helm) -> None:
    refused = each_helm.template(ON, "services.user.enabled=false")
    assert "console.enabled: admins log in at the user service" in refused.stderr
