"""NetworkPolicies: the graph of who may reach whom is the authorization policy's."""

import re
from collections.abc import Mapping

from grpcmesh.authz import Policy
from local.catalog import ADMIN_PORT, MESH_PORT, SHOP
from tests.chart.helm import ROOT, Helm, Manifest, Rendered

NAME = "app.kubernetes.io/name"
OPERATOR = "client"
#: Every pod of the release.
EVERYONE = "*"
_OWN = re.compile(r"ecommerce\.(\w+)Service/")


def policy_edges() -> set[tuple[str, str]]:
    """Caller and called service, of every rule. The mesh's own services are every service's."""
    edges: set[tuple[str, str]] = set()
    policy = Policy.parse((ROOT / "services" / "policy.toml").read_text())
    for method, callers in policy.workloads.items():
        own = _OWN.match(method)
        called = [own[1].lower()] if own else [n for n, s in SHOP.items() if not s.web]
        edges |= {(caller, service) for caller in callers for service in called}
    return edges


def peers(selectors: list[Manifest]) -> set[str]:
    """The workloads that peers of the release's own namespace name; `client` for the operator's pods."""
    names: set[str] = set()
    for peer in selectors:
        assert peer.keys() == {"podSelector"}, peer
        selector = peer["podSelector"]
        expressions = selector.get("matchExpressions", ())
        if any("toolbox" in e["values"] for e in expressions):
            names.add(OPERATOR)
        else:
            names.add(selector["matchLabels"].get(NAME, EVERYONE))
    return names


def subject(policy: Manifest) -> str | None:
    labels = policy["spec"]["podSelector"].get("matchLabels", {})
    expressions = policy["spec"]["podSelector"].get("matchExpressions", ())
    return OPERATOR if any("toolbox" in e["values"] for e in expressions) else labels.get(NAME)


def ports(rule: Manifest) -> set[int]:
    return {p["port"] for p in rule.get("ports", ())}


def edges(rendered: Rendered, port: int) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Who may reach whom on a port: as those who are reached say, and as those who reach out say."""
    entering, leaving = set(), set()
    for policy in rendered.of("NetworkPolicy").values():
        who = subject(policy)
        for rule in policy["spec"].get("ingress") or ():
            if port in ports(rule) and who and "from" in rule:
                entering |= {(caller, who) for caller in peers(rule["from"])}
        for rule in policy["spec"].get("egress") or ():
            if port in ports(rule) and who and "to" in rule:
                leaving |= {(who, called) for called in peers(rule["to"])}
    return entering, leaving


def test_every_edge_of_the_call_graph_is_one_of_the_policy_and_the_other_way_round(
    defaults: Rendered,
) -> None:
    # The console is there only where it is asked for (test_console.py).
    services = {e for e in policy_edges() if e[0] not in (OPERATOR, "console")}
    entering, leaving = edges(defaults, MESH_PORT)
    assert {e for e in entering if e[0] != OPERATOR} == services
    assert {e for e in leaving if e[0] != OPERATOR} == services


def test_the_operator_reaches_every_service(defaults: Rendered) -> None:
    entering, leaving = edges(defaults, MESH_PORT)
    every = {(OPERATOR, name) for name in SHOP}
    assert {e for e in entering if e[0] == OPERATOR} == every
    assert {e for e in leaving if e[0] == OPERATOR} == every
    assert {e for e in policy_edges() if e[0] == OPERATOR} <= every


def test_everything_else_is_denied(rendered: Rendered) -> None:
    policies = rendered.of("NetworkPolicy")
    if not policies:
        return
    deny = policies["meshmart-default-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not deny.keys() & {"ingress", "egress"}
    for name, pod in rendered.pods():
        selected = deny["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert selected, name


def test_no_service_may_leave_for_anywhere_but_what_it_needs(defaults: Rendered) -> None:
    for name in SHOP:
        for rule in defaults.of("NetworkPolicy")[name]["spec"]["egress"] or ():
            assert rule["to"], f"{name}: an egress rule without a destination reaches the internet"


def test_everyone_may_ask_the_clusters_dns(defaults: Rendered) -> None:
    (rule,) = defaults.of("NetworkPolicy")["meshmart-dns"]["spec"]["egress"]
    assert {(p["port"], p["protocol"]) for p in rule["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert rule["to"][0]["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def test_those_who_store_and_only_they_reach_the_database(defaults: Rendered) -> None:
    stores = {name for name, spec in SHOP.items() if spec.stores}
    entering, leaving = edges(defaults, 5432)
    assert {caller for caller, _ in entering} == {*stores, "migrations", OPERATOR}
    assert {caller for caller, _ in leaving} == {*stores, OPERATOR}  # the jobs' policy selects by component


def test_prometheus_scrapes_every_service(defaults: Rendered) -> None:
    entering, leaving = edges(defaults, ADMIN_PORT)
    assert ("prometheus", EVERYONE) in leaving
    assert {("prometheus", name) for name in SHOP} <= entering


def test_spans_reach_the_bundled_jaeger(defaults: Rendered) -> None:
    _, leaving = edges(defaults, 4317)
    assert leaving == {(name, "jaeger") for name in (*SHOP, OPERATOR)}
    entering, _ = edges(defaults, 4317)
    assert entering == {(EVERYONE, "jaeger")}


def test_spans_reach_a_collector_of_ones_own_on_its_port(each_helm: Helm) -> None:
    there = [{"namespaceSelector": {"matchLabels": {"name": "telemetry"}}}]
    own = each_helm.render(
        'otlp.endpoint="http://collector.telemetry:14317"',
        'networkPolicy.otlpTo=[{"namespaceSelector":{"matchLabels":{"name":"telemetry"}}}]',
    )
    assert "jaeger" not in own.of("Deployment")
    rules = own.of("NetworkPolicy")["product"]["spec"]["egress"]
    assert {"ports": [{"port": 14317}], "to": there} in rules


def test_grafana_reaches_a_loki_of_ones_own_on_its_port(each_helm: Helm) -> None:
    there = [{"namespaceSelector": {"matchLabels": {"name": "logging"}}}]
    peers = 'networkPolicy.lokiTo=[{"namespaceSelector":{"matchLabels":{"name":"logging"}}}]'
    for url, port in (
        ("http://loki.logging:3100", 3100),
        ("http://loki/logs", 80),
        ("https://10.1.2.3", 443),
    ):
        rendered = each_helm.render(f'grafana.loki.url="{url}"', peers)
        egress = rendered.of("NetworkPolicy")["grafana"]["spec"]["egress"]
        assert {"ports": [{"port": port}], "to": there} in egress


def test_only_pages_are_open_to_visitors(defaults: Rendered) -> None:
    open_to_all = _without_peers(defaults)
    assert open_to_all == {
        "storefront": {8080},
        "jaeger": {16686},
        "grafana": {3000},
        "prometheus": {9090},
    }


def _without_peers(rendered: Rendered) -> Mapping[str, set[int]]:
    return {
        name: ports(rule)
        for name, policy in rendered.of("NetworkPolicy").items()
        for rule in policy["spec"].get("ingress") or ()
        if "from" not in rule
    }


def test_pages_can_be_kept_to_some(each_helm: Helm) -> None:
    kept = each_helm.render('networkPolicy.pagesFrom=[{"namespaceSelector":{}}]')
    assert not _without_peers(kept)
