"""What is off unless asked for, and what the operator's pod may do to the cluster."""

from pathlib import Path

import yaml

from local.catalog import SHOP
from services.notification.smtp import Settings
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


def settings(rendered: Rendered, name: str) -> dict[str, str]:
    """Variables of a Deployment or Job."""
    found = rendered.of("Deployment").get(name) or rendered.of("Job")[name]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_demo_users_are_there_only_where_asked_for(each_helm: Helm, defaults: Rendered) -> None:
    for name in ("migrations", "storefront"):
        assert settings(defaults, name)["MESHMART_DEMO_USERS"] == "false"
        asked = each_helm.render("seed.demoUsers=true")
        assert settings(asked, name)["MESHMART_DEMO_USERS"] == "true"
    assert yaml.safe_load((CHART / "demo.yaml").read_text())["seed"]["demoUsers"] is True


def test_the_first_admin_comes_from_a_secret(each_helm: Helm, defaults: Rendered) -> None:
    assert "MESHMART_FIRST_ADMIN_DIR" not in settings(defaults, "migrations")
    rendered = each_helm.render('seed.firstAdminSecret="root"')
    assert settings(rendered, "migrations")["MESHMART_FIRST_ADMIN_DIR"] == "/first-admin"
    pod = rendered.of("Job")["migrations"]["spec"]["template"]["spec"]
    assert {"name": "first-admin", "secret": {"secretName": "root"}} in pod["volumes"]
    assert {"name": "first-admin", "mountPath": "/first-admin", "readOnly": True} in pod["containers"][0][
        "volumeMounts"
    ]


def test_cookies_are_secure_where_visitors_come_by_https(each_helm: Helm, defaults: Rendered) -> None:
    https = {
        (): "false",
        ("ingress.enabled=true",): "true",
        ("ingress.enabled=true", "pages.https=false"): "false",
        ("pages.https=true",): "true",
    }
    for values, expected in https.items():
        storefront = settings(each_helm.render(*values), "storefront")
        assert storefront["MESHMART_SECURE_COOKIES"] == expected, values
    assert "MESHMART_TRUSTED_PROXIES" not in settings(defaults, "storefront")
    behind = each_helm.render('pages.trustedProxies=["10.0.0.0/8","fd00::/8"]')
    assert settings(behind, "storefront")["MESHMART_TRUSTED_PROXIES"] == "10.0.0.0/8,fd00::/8"


def test_letters_go_to_the_mail_system_that_is_named_and_to_no_other(
    each_helm: Helm, defaults: Rendered
) -> None:
    assert not any(name.startswith("MESHMART_SMTP") for name in settings(defaults, "notification"))
    mail = '"from":"Shop <shop@example.com>","user":"u","passwordSecret":"m","caSecret":"ca"'
    peer = '[{"ipBlock":{"cidr":"192.0.2.1/32"}}]'
    rendered = each_helm.render(
        f'mail={{"host":"mail.example.com","port":465,"tls":"tls",{mail}}}', f"networkPolicy.mailTo={peer}"
    )
    found = {n: v for n, v in settings(rendered, "notification").items() if n.startswith("MESHMART_SMTP")}
    known = Settings.from_env(found)
    assert known
    assert (known.host, known.port, known.tls, str(known.sender)) == (
        "mail.example.com",
        465,
        "tls",
        "Shop <shop@example.com>",
    )
    pod = rendered.of("Deployment")["notification"]["spec"]["template"]["spec"]
    mounts = {m["name"]: Path(m["mountPath"]) for m in pod["containers"][0]["volumeMounts"]}
    assert (known.password_file, known.ca_file) == (mounts["mail"] / "password", mounts["mail-ca"] / "ca.crt")
    assert [v["secret"]["secretName"] for v in pod["volumes"] if v["name"].startswith("mail")] == ["m", "ca"]
    assert "MESHMART_SMTP_HOST" not in settings(rendered, "user")
    for name, policy in rendered.of("NetworkPolicy").items():
        there = [rule for rule in policy["spec"].get("egress") or () if {"port": 465} in rule["ports"]]
        assert there == (
            [{"ports": [{"port": 465}], "to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}]
            if name == "notification"
            else []
        )
