"""The Tiltfile, evaluated over the real chart by a Starlark interpreter."""

from pathlib import Path
from typing import Any

import pytest
import starlark
import yaml

from tests.tilt.host import evaluate
from tests.tilt.session import UNCATEGORIZED, Session
from tests.tilt.tools import need

ROOT = Path(__file__).parents[2]
VERSIONS = yaml.safe_load((ROOT / "k8s/versions.yaml").read_text())
VALUES = yaml.safe_load((ROOT / "helm/meshmart/values.yaml").read_text())
SERVICES = sorted(VALUES["services"])


@pytest.fixture(scope="module")
def up() -> Session:
    """`tilt up`. That helm renders tilt/values.yaml means that the chart's schema accepts it."""
    need("helm")
    return evaluate(ROOT)


def container(session: Session, name: str) -> dict[str, Any]:
    """The container of a workload that bears its name."""
    workload = session.resources[name].objects[0]
    found: dict[str, Any] = workload["spec"]["template"]["spec"]["containers"][0]
    return found


def called_from(*names: str) -> set[str]:
    """Return the services that these call, those that they call in turn and so on, and these themselves."""
    found: set[str] = set()
    left = set(names)
    while left:
        found |= left
        left = {target for name in left for target in VALUES["services"][name].get("calls", [])} - found
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_of_the_chart_is_a_labelled_resource_with_all_that_is_its_own(
    up: Session, service: str
) -> None:
    resource = up.resources[service]
    assert resource.labels == [VALUES["services"][service].get("component", "service")]
    assert {"Deployment", "Service", "ServiceAccount", "Certificate", "NetworkPolicy"} <= set(resource.kinds)


def test_every_resource_has_a_group_and_no_object_is_left_over(up: Session) -> None:
    assert UNCATEGORIZED not in up.resources
    assert not [each.name for each in up.resources.values() if len(each.labels) != 1]


def test_a_pinned_cert_manager_is_there_before_anything_of_the_chart(up: Session) -> None:
    how = up.resources["cert-manager"].how
    assert how["chart"] == VERSIONS["certManager"]["chart"]
    assert how["flags"][:2] == ["--version", VERSIONS["certManager"]["version"]]
    assert "--wait" in how["flags"]
    assert up.after("cert-manager") == {"namespaces"}
    for resource in up.resources.values():
        if resource.objects and resource.name != "namespaces":
            assert "cert-manager" in up.after(resource.name), resource.name


def test_services_start_when_their_tables_are_there(up: Session) -> None:
    for service in SERVICES:
        assert {"postgres", "migrations", "signing-key"} <= up.after(service)


def test_the_links_lead_to_ports_that_the_containers_have(up: Session) -> None:
    links = {each["name"]: (name, each) for name, row in up.resources.items() for each in row.forwards}
    assert set(links) == {"shop", "Grafana", "Jaeger", "Prometheus"}
    for name, forward in links.values():
        assert forward["container"] in [each["containerPort"] for each in container(up, name)["ports"]], name
    assert len({each["local"] for _, each in links.values()}) == len(links)


def test_nothing_that_is_rendered_changes_from_one_evaluation_to_the_next(up: Session) -> None:
    again = evaluate(ROOT)
    assert {each.name: each.objects for each in again.resources.values()} == {
        each.name: each.objects for each in up.resources.values()
    }


def test_no_secret_is_a_word_that_tilt_would_blot_out_of_its_log(up: Session) -> None:
    secrets = [
        value
        for resource in up.resources.values()
        for each in resource.objects
        if each["kind"] == "Secret"
        for value in each.get("stringData", {}).values()
    ]
    assert secrets
    ordinary = (ROOT / "Dockerfile").read_text() + " ".join(up.resources)
    assert not [each for each in secrets if each in ordinary]


def test_of_helm_s_hooks_only_those_of_an_installation_are_applied(up: Session) -> None:
    hooks = {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["annotations"]["helm.sh/hook"]
        for resource in up.resources.values()
        for each in resource.objects
        if "helm.sh/hook" in (each["metadata"].get("annotations") or {})
    }
    assert "Job/migrations" in hooks
    assert not [name for name, when in hooks.items() if "delete" in when or "test" in when]


def test_one_image_is_built_for_all_of_ours(up: Session) -> None:
    (build,) = up.builds
    ours = [*SERVICES, "client", "migrations"]
    assert {container(up, each)["image"].rsplit(":", 1)[0] for each in ours} == {build["ref"]}


def test_a_live_update_covers_every_package_and_then_restarts(up: Session) -> None:
    (build,) = up.builds
    first, *syncs, last = build["live_update"]
    assert first["step"] == "fall_back_on"
    assert last == {"step": "run", "cmd": "kill -HUP 1"}
    synced = {str(Path(each["local"]).relative_to(ROOT)): each["remote"] for each in syncs}
    packages = ["mesh/src", "services", "local", "meshmart", "protos"]
    assert synced == {each: f"/tmp/src/{each}" for each in packages}
    assert set(build["only"]) == {each["local"] for each in syncs} | set(first["files"])


def test_an_edit_builds_no_image_for_a_job_that_is_done(up: Session) -> None:
    manual = {name for name, each in up.resources.items() if each.how.get("trigger_mode") == "manual"}
    assert manual == {"credentials", "migrations", "orders", "audit"}


def test_the_image_s_dev_stage_is_what_a_live_update_expects(up: Session) -> None:
    (build,) = up.builds
    assert build["target"] == "dev"
    stage = (ROOT / "Dockerfile").read_text().split(" AS dev\n")[1].split("\nFROM ")[0]
    assert "PYTHONPATH=/tmp/src:/tmp/src/protos:/tmp/src/mesh/src:/src:/src/protos:/src/mesh/src" in stage
    assert "COPY tilt/reload.py /src/tilt/" in stage
    assert build["entrypoint"] == ["python", "/src/tilt/reload.py", "/src", "/tmp/src"]


def test_the_pods_stay_those_of_production(up: Session) -> None:
    for service in SERVICES:
        assert container(up, service)["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {each["mountPath"] for each in container(up, service)["volumeMounts"]}
        assert "/tmp" in mounts


def test_arguments_select_services_and_what_those_call() -> None:
    need("helm")
    session = evaluate(ROOT, ["product", "chat"])
    running = session.running() & set(SERVICES)
    # Each calls the user service, whose erasure reaches all that hold something of a user.
    assert {"product", "chat", "user", "order", "notification"} <= running
    assert running == called_from("product", "chat")
    assert not running & {"storefront", "loadgen"}
    assert {"client", "postgres", "cert-manager", "grafana", "command"} <= session.running()
    assert "orders" not in session.resources


def test_an_unknown_service_is_refused_with_those_that_there_are() -> None:
    need("helm")
    with pytest.raises(starlark.StarlarkError, match=r"no service products; there are analytics, .*user"):
        evaluate(ROOT, ["products"])


def test_it_deploys_to_the_cluster_of_k8s_and_to_contexts_that_are_named(up: Session) -> None:
    need("helm")
    cluster = list(yaml.safe_load_all((ROOT / "k8s/cluster.yaml").read_text()))[1]
    assert up.settings["allow_k8s_contexts"]["contexts"] == [cluster["name"]]
    more = evaluate(ROOT, ["--allow-context=other"])
    assert more.settings["allow_k8s_contexts"]["contexts"] == [cluster["name"], "other"]


def test_the_shop_goes_to_the_namespace_that_is_named(up: Session) -> None:
    need("helm")
    session = evaluate(ROOT, ["--namespace=mine"])
    assert session.resources.keys() == up.resources.keys()
    found = {
        each["metadata"]["name"] if each["kind"] == "Namespace" else each["metadata"].get("namespace")
        for resource in session.resources.values()
        for each in resource.objects
    }
    assert found == {"mine", "cert-manager"}
    for button in session.buttons:
        assert button["env"]["KUBE_NAMESPACE"] == "mine"
    assert session.resources["signing-key"].how["cmd"][-1] == "mine"


def test_only_kind_gets_what_kind_lacks(up: Session) -> None:
    need("helm")
    other = evaluate(ROOT, ["--allow-context=other"], context="other")
    assert up.resources["storefront"].kinds.count("Service") == 2
    assert other.resources["storefront"].kinds.count("Service") == 1


def test_values_of_one_s_own_are_laid_over_tilt_s(tmp_path: Path) -> None:
    need("helm")
    own = tmp_path / "own.yaml"
    own.write_text("grafana: {enabled: false}\ndefault: {minReadySeconds: 3}\n")
    session = evaluate(ROOT, [f"--values={own}"])
    assert "grafana" not in session.resources
    assert session.resources["product"].objects[0]["spec"]["minReadySeconds"] == 3


def test_a_cluster_s_own_cert_manager_is_looked_for_and_left_alone() -> None:
    need("helm")
    session = evaluate(ROOT, ["--cert-manager=none"])
    assert "crd/certificates.cert-manager.io" in session.resources["cert-manager"].how["cmd"]
    assert [each["metadata"]["name"] for each in session.resources["namespaces"].objects] == ["meshmart"]


def test_cert_manager_s_chart_may_come_from_elsewhere_in_the_same_version() -> None:
    need("helm")
    how = evaluate(ROOT, ["--cert-manager=/charts/cert-manager.tgz"]).resources["cert-manager"].how
    assert how["chart"] == "/charts/cert-manager.tgz"
    assert how["flags"][:2] == ["--version", VERSIONS["certManager"]["version"]]


def test_tilt_ci_places_orders_and_audits_the_books_and_tilt_up_waits_for_a_click(up: Session) -> None:
    ci = evaluate(ROOT, subcommand="ci")
    assert ci.after("audit") >= {"orders", *SERVICES}
    for name in ("orders", "audit"):
        assert ci.resources[name].how["auto_init"] is True
        assert up.resources[name].how["auto_init"] is False


def test_extensions_are_pinned_and_may_come_from_elsewhere(up: Session, monkeypatch: Any) -> None:
    pinned = VERSIONS["tiltExtensions"]
    assert up.extension_repo == {"name": "default", "url": pinned["url"], "ref": pinned["ref"]}
    assert len(pinned["ref"]) == 40
    monkeypatch.setenv("MESHMART_TILT_EXTENSIONS", "file:///extensions")
    elsewhere = evaluate(ROOT).extension_repo
    assert elsewhere == {"name": "default", "url": "file:///extensions", "ref": ""}
