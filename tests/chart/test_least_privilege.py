"""What is off unless asked for, and what the operator's pod may do to the cluster."""

import yaml

from local.catalog import SHOP
from tests.chart.helm import CHART, Helm, Rendered

DEMO = ("toolbox.enabled=true", "faults.enabled=true")


def fault_settings(rendered: Rendered) -> set[str]:
    """MESH_FAULT_ENABLED of every service."""
    return {
        each["value"]
        for deployment in rendered.services().values()
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for each in container["env"]
        if each["name"] == "MESH_FAULT_ENABLED"
    }


def test_faults_and_the_toolbox_are_off_unless_asked_for(each_helm: Helm, defaults: Rendered) -> None:
    assert fault_settings(defaults) == {"false"}
    assert "client" not in defaults.of("Deployment")
    assert "client" not in defaults.of("Role")
    assert "client" not in defaults.of("ServiceAccount")
    asked = each_helm.render(*DEMO)
    assert fault_settings(asked) == {"true"}
    assert "client" in asked.of("Deployment")


def test_the_demos_values_ask_for_them() -> None:
    values = yaml.safe_load((CHART / "demo.yaml").read_text())
    assert values["toolbox"]["enabled"] is True
    assert values["faults"]["enabled"] is True


def test_the_toolbox_changes_the_shops_own_objects_only(each_helm: Helm) -> None:
    rules = each_helm.render(*DEMO).of("Role")["client"]["rules"]
    changing = {"create", "update", "patch", "delete", "deletecollection", "*"}
    by_name = {
        "deployments": set(SHOP),
        "deployments/scale": set(SHOP),
        "certificates/status": {*SHOP, "client", "outsider"},
    }
    seen = set()
    for rule in rules:
        if changing.isdisjoint(rule["verbs"]) or rule["resources"] == ["pods"]:
            continue
        (resource,) = rule["resources"]
        assert set(rule["resourceNames"]) == by_name[resource]
        seen.add(resource)
    assert seen == by_name.keys()
    assert not any("secrets" in rule["resources"] or "*" in rule["resources"] for rule in rules)
