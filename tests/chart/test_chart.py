"""The chart as a whole: lint, and every object against Kubernetes' schemas."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.catalog import ADMIN_PORT, HEALTH_PORT, MESH_PORT, SHOP
from meshmart.kubernetes.status import status
from tests.chart import schemas
from tests.chart.conftest import MATRIX
from tests.chart.helm import CHART, NAMESPACE, RELEASE, ROOT, VERSIONS, Helm, Rendered


def test_lint_finds_nothing(each_helm: Helm) -> None:
    done = each_helm.run("lint", "--strict", "--kube-version", VERSIONS[0], str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_of_every_mode_is_valid(each_helm: Helm, version: str) -> None:
    for name, settings in MATRIX.items():
        for o in each_helm.render(*settings).objects:
            assert not schemas.problems(o, version), f"{name}: {o['kind']} {o['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_rendered_does_not_depend_on_the_cluster(each_helm: Helm, version: str) -> None:
    kinds = sorted((o["kind"], o["metadata"]["name"]) for o in each_helm.render(version=version).objects)
    assert kinds == sorted((o["kind"], o["metadata"]["name"]) for o in each_helm.render().objects)
    templates = [*CHART.glob("templates/**/*.yaml"), *CHART.glob("templates/*.tpl")]
    assert not [t.name for t in templates if ".Capabilities" in t.read_text()]


def test_it_is_the_same_each_time(each_helm: Helm) -> None:
    """No password or key is made up while rendering: Argo CD and `helm diff` see no change."""
    one, two = each_helm.template(), each_helm.template()
    assert one.stdout == two.stdout
    templates = "\n".join(t.read_text() for t in CHART.glob("templates/**/*") if t.is_file())
    assert not re.search(r"\b(rand\w+|gen\w+|now|lookup)\b (?!\w+-)[\"0-9|.]", templates)


def test_a_helm_that_is_told_no_version_renders_it(each_helm: Helm) -> None:
    # A Helm that `go install` builds without more says 1.20, which the chart refuses.
    done = each_helm.run("template", RELEASE, str(CHART), "--namespace", NAMESPACE)
    assert done.returncode == 0, done.stderr


def test_an_older_kubernetes_is_refused(each_helm: Helm) -> None:
    refused = each_helm.template(version="1.29.9")
    assert refused.returncode != 0
    assert "kubeVersion" in refused.stderr


def test_every_object_is_of_the_release_and_its_namespace(rendered: Rendered) -> None:
    for o in rendered.objects:
        assert o["metadata"]["namespace"] == NAMESPACE, o["metadata"]
        labels = o["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "meshmart"
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


def test_no_object_is_there_twice(rendered: Rendered) -> None:
    names = [(o["kind"], o["metadata"]["name"]) for o in rendered.objects]
    assert len(names) == len(set(names))


def test_services_and_ports_are_those_of_the_embedded_cluster(defaults: Rendered) -> None:
    assert defaults.services().keys() == SHOP.keys()
    for name, deployment in defaults.services().items():
        assert deployment["spec"]["replicas"] == SHOP[name].replicas
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["name"] == name
        assert container["args"] == ["-m", SHOP[name].module]
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        web = {"http": 8080} if SHOP[name].web else {}
        assert ports == {"grpc": MESH_PORT, "health": HEALTH_PORT, "admin": ADMIN_PORT, **web}
        stores = any(e["name"] == "MESHMART_DATABASE_URL" for e in container["env"])
        assert stores == SHOP[name].stores


def test_services_of_the_mesh_are_headless_and_the_shops_pages_are_not(defaults: Rendered) -> None:
    headless = {n for n, s in defaults.of("Service").items() if s["spec"].get("clusterIP") == "None"}
    assert headless == {*SHOP, "postgres"} - {"storefront"}


def test_status_finds_the_pages_of_every_service_that_has_some(defaults: Rendered) -> None:
    told = status([], {}, list(defaults.of("Service").values()), "shop.svc.cluster.local")
    assert told["storefront"] == "http://storefront.shop.svc.cluster.local:8080"
    assert told["prometheus"] == "http://prometheus.shop.svc.cluster.local:9090"
    assert told["traces"] == "http://jaeger.shop.svc.cluster.local:16686"


def test_the_policy_is_the_one_that_the_embedded_cluster_runs_with(defaults: Rendered) -> None:
    ours = (ROOT / "services" / "policy.toml").read_text()
    assert (CHART / "files" / "policy.toml").read_text() == ours, "make manifests"
    mounted = defaults.of("ConfigMap")["meshmart-policy"]["data"]["policy.toml"]
    assert tomllib.loads(mounted) == tomllib.loads(ours)


def test_a_policy_of_ones_own_replaces_it(each_helm: Helm) -> None:
    policy = each_helm.render('policy.text="[[allow]]\\nfrom = [\\"client\\"]\\nmethods = []\\n"')
    mounted = policy.of("ConfigMap")["meshmart-policy"]["data"]["policy.toml"]
    assert tomllib.loads(mounted) == {"allow": [{"from": ["client"], "methods": []}]}


def test_a_changed_policy_restarts_nothing(each_helm: Helm, defaults: Rendered) -> None:
    # The processes poll the file.
    changed = each_helm.render('policy.text="[[allow]]\\nfrom = []\\nmethods = []\\n"')
    assert changed.services() == defaults.services()


def test_dashboards_and_rules_are_all_there(each_helm: Helm) -> None:
    rendered = each_helm.render(*MATRIX["own telemetry"])
    dashboards = {p.name for p in CHART.glob("dashboards/*.json")}
    if dashboards:
        assert rendered.of("ConfigMap")["meshmart-dashboards"]["data"].keys() == dashboards
    rules = {f"meshmart-{p.stem}": yaml.safe_load(p.read_text()) for p in CHART.glob("rules/*.yaml")}
    assert {n: o["spec"] for n, o in rendered.of("PrometheusRule").items()} == rules


def sources(rendered: Rendered) -> dict[str, dict[str, Any]]:
    """The bundled Grafana's data sources, by uid."""
    told = yaml.safe_load(rendered.of("ConfigMap")["grafana"]["data"]["datasources.yaml"])
    return {source["uid"]: source for source in told["datasources"]}


def test_grafana_has_a_log_source_where_one_is_configured(each_helm: Helm, defaults: Rendered) -> None:
    assert sources(defaults).keys() == {"prometheus", "jaeger"}
    assert "jsonData" not in sources(defaults)["jaeger"]
    found = sources(each_helm.render('grafana.loki.url="http://loki.logging:3100"'))
    assert found["loki"]["url"] == "http://loki.logging:3100"
    (field,) = found["loki"]["jsonData"]["derivedFields"]
    line = '{"level":"INFO","msg":"call","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad"}'
    assert re.findall(field["matcherRegex"], line) == ["0af7651916cd43dd8448eb211c80319c"]
    # Grafana reads $$ as $: environment variables are replaced in its files.
    assert (field["datasourceUid"], field["url"]) == ("jaeger", "$${__value.raw}")
    back = found["jaeger"]["jsonData"]["tracesToLogsV2"]
    assert back["datasourceUid"] == "loki"
    assert back["query"] == f'{{namespace="{NAMESPACE}"}} |= "$${{__trace.traceId}}"'


def test_a_log_line_leads_to_trace_pages_of_ones_own(each_helm: Helm) -> None:
    own = ('otlp.endpoint="http://collector:4317"', 'otlp.pagesUrl="https://traces.example.com/"')
    found = sources(each_helm.render('grafana.loki.url="http://loki:3100"', *own))
    (field,) = found["loki"]["jsonData"]["derivedFields"]
    assert "datasourceUid" not in field
    assert field["url"] == "https://traces.example.com/trace/$${__value.raw}"


def test_the_bundled_prometheus_evaluates_every_rule(defaults: Rendered) -> None:
    files = defaults.of("ConfigMap")["prometheus"]["data"]
    config = yaml.safe_load(files.pop("prometheus.yml"))
    assert files == {p.name: p.read_text() for p in CHART.glob("rules/*.yaml")}
    assert config["rule_files"] == ["/etc/prometheus/*.yaml"]


def test_notes_tell_what_to_open_next(each_helm: Helm, tmp_path: Path) -> None:
    # `helm template` leaves the notes out, `helm install` wants a cluster: another template includes them.
    chart = shutil.copytree(CHART, tmp_path / "meshmart")
    shown = '{{ $notes := include "meshmart/templates/NOTES.txt" . }}notes: {{ $notes | toJson }}\n'
    (chart / "templates" / "shown.yaml").write_text(shown)
    where = ["--namespace", NAMESPACE, "--kube-version", VERSIONS[0], "--show-only", "templates/shown.yaml"]
    done = each_helm.run("template", RELEASE, str(chart), *where)
    notes = yaml.safe_load(done.stdout)["notes"]
    for told in (
        "storefront 8080",
        "jaeger 16686",
        "grafana 3000",
        "prometheus 9090",
        "helm test spring -n shop",
    ):
        assert told in notes
