"""The database's password and the signing key: made in the cluster, never while rendering, and kept."""

import pytest

from local.catalog import SHOP
from tests.chart.helm import Helm, Manifest, Rendered, containers, environment

#: Services with a database, in the order of the chart.
STORING = sorted(name for name, service in SHOP.items() if service.stores)


def _arguments(rendered: Rendered) -> list[str]:
    told: list[str] = rendered.of("Job")["credentials"]["spec"]["template"]["spec"]["containers"][0]["args"]
    return told


def test_a_job_makes_them_before_anything_needs_them(defaults: Rendered) -> None:
    assert not defaults.of("Secret")
    arguments = _arguments(defaults)
    assert arguments[:2] == ["-m", "meshmart.hooks.credentials"]
    assert "--signing-keys" in arguments
    assert arguments[arguments.index("--database") + 1] == "postgres.shop.svc.cluster.local"
    for kind in ("ServiceAccount", "Role", "RoleBinding", "Job"):
        annotations = defaults.of(kind)["credentials"]["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert int(annotations["helm.sh/hook-weight"]) < 0  # the migrations' is 0


def test_the_job_may_touch_those_secrets_and_no_other(defaults: Rendered) -> None:
    (kept,) = [r for r in defaults.of("Role")["credentials"]["rules"] if "resourceNames" in r]
    roles = [f"meshmart-database-{name}" for name in STORING]
    assert kept["resourceNames"] == ["meshmart-database", "user-signing-keys", *roles]
    assert kept["verbs"] == ["get", "patch"]


def test_secrets_of_ones_own_leave_nothing_to_make(each_helm: Helm) -> None:
    own = each_helm.render('database.existingSecret="db"', 'signingKeys.existingSecret="keys"')
    assert "credentials" not in own.of("Job")
    half = _arguments(each_helm.render('signingKeys.existingSecret="keys"'))
    assert "--database" in half
    assert "--signing-keys" not in half


def test_a_password_that_is_given_is_kept_too(each_helm: Helm) -> None:
    given = each_helm.render('postgres.password="p@ss/word"')
    secret = given.of("Secret")["meshmart-database"]
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "p%40ss%2Fword" in secret["stringData"]["url"]
    assert "--database" not in _arguments(given)


def test_data_and_password_outlive_an_uninstall_together(defaults: Rendered) -> None:
    claim = defaults.of("StatefulSet")["postgres"]["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert claim["whenDeleted"] == "Retain"


@pytest.mark.parametrize(
    ("tls", "volume"),
    [
        ('{"caSecret":"ca"}', {"secret": {"secretName": "ca"}}),
        ('{"caConfigMap":"ca","caKey":"root.pem"}', {"configMap": {"name": "ca"}}),
    ],
)
def test_a_database_of_ones_own_is_verified_by_everyone_who_reaches_it(
    each_helm: Helm, tls: str, volume: Manifest
) -> None:
    own = each_helm.render('database.existingSecret="db"', f"database.tls={tls}")
    reach = 0
    for name, pod in own.pods():
        for container in containers(pod):
            if "MESHMART_DATABASE_URL" not in {e["name"] for e in container.get("env", ())}:
                continue
            reach += 1
            assert {"name": "database-ca", **volume} in pod["spec"]["volumes"], name
            path = environment(container)["PGSSLROOTCERT"]
            (mount,) = [m for m in container["volumeMounts"] if m["name"] == "database-ca"]
            assert path in (f"{mount['mountPath']}/ca.crt", f"{mount['mountPath']}/root.pem"), name
    assert reach == sum(s.stores for s in SHOP.values()) + 4  # migrations, three tests


def test_a_client_certificate_is_presented_to_it(each_helm: Helm) -> None:
    own = each_helm.render('database.existingSecret="db"', 'database.tls.clientSecret="me"')
    (container,) = own.services()["order"]["spec"]["template"]["spec"]["containers"]
    assert environment(container)["PGSSLCERT"] == "/var/run/meshmart/database-client/tls.crt"
    assert environment(container)["PGSSLKEY"] == "/var/run/meshmart/database-client/tls.key"


def test_argo_cd_makes_the_bundled_database_then_its_tables_then_the_rest(defaults: Rendered) -> None:
    """Argo CD runs a hook that is both post-install and pre-upgrade before each sync, the first one too."""
    wave = "argocd.argoproj.io/sync-wave"
    migrations = defaults.of("Job")["migrations"]["metadata"]["annotations"]
    assert (migrations["argocd.argoproj.io/hook"], migrations[wave]) == ("Sync", "-1")
    for kind in ("ServiceAccount", "Service", "StatefulSet"):
        assert defaults.of(kind)["postgres"]["metadata"]["annotations"][wave] == "-2"
    others = [
        o for o in defaults.objects if o["metadata"]["name"] not in ("postgres", "migrations", "credentials")
    ]
    assert not [o["metadata"]["name"] for o in others if wave in o["metadata"].get("annotations", {})]


def _database_secret(pod: Manifest) -> str:
    (container,) = containers(pod)
    (url,) = [e for e in container.get("env", ()) if e["name"] == "MESHMART_DATABASE_URL"]
    named: str = url["valueFrom"]["secretKeyRef"]["name"]
    return named


def test_each_service_logs_in_with_a_secret_of_its_own(defaults: Rendered) -> None:
    for name in STORING:
        pod = defaults.services()[name]["spec"]["template"]
        assert _database_secret(pod) == f"meshmart-database-{name}"
    arguments = _arguments(defaults)
    asked = [arguments[n + 1] for n, argument in enumerate(arguments) if argument == "--role"]
    assert asked == STORING
    assert arguments[arguments.index("--roles-at") + 1] == "postgres.shop.svc.cluster.local"


def test_the_migrations_make_the_roles_as_the_owner(defaults: Rendered) -> None:
    template = defaults.of("Job")["migrations"]["spec"]["template"]
    assert _database_secret(template) == "meshmart-database"
    (container,) = containers(template)
    assert environment(container)["MESHMART_DATABASE_ROLES_DIR"] == "/roles"
    assert {"name": "roles", "mountPath": "/roles", "readOnly": True} in container["volumeMounts"]
    (roles,) = [v for v in template["spec"]["volumes"] if v["name"] == "roles"]
    sources = [source["secret"] for source in roles["projected"]["sources"]]
    assert sources == [
        {"name": f"meshmart-database-{name}", "items": [{"key": "url", "path": name}]} for name in STORING
    ]


def test_in_a_database_of_ones_own_roles_are_made_where_that_is_asked_for(each_helm: Helm) -> None:
    plain = each_helm.render('database.existingSecret="db"', 'signingKeys.existingSecret="keys"')
    assert _database_secret(plain.services()["order"]["spec"]["template"]) == "db"
    assert "roles" not in {
        v["name"] for v in plain.of("Job")["migrations"]["spec"]["template"]["spec"]["volumes"]
    }
    asked = each_helm.render('database.existingSecret="db"', "database.roles=true")
    assert _database_secret(asked.services()["order"]["spec"]["template"]) == "meshmart-database-order"
    arguments = _arguments(asked)
    assert arguments[arguments.index("--roles-like") + 1] == "db"
    assert "--database" not in arguments
    rules = [r for r in asked.of("Role")["credentials"]["rules"] if r.get("resourceNames") == ["db"]]
    assert [r["verbs"] for r in rules] == [["get"]]


def test_one_role_for_all_is_to_be_had(each_helm: Helm) -> None:
    one = each_helm.render("database.roles=false")
    assert _database_secret(one.services()["order"]["spec"]["template"]) == "meshmart-database"
    assert "--role" not in _arguments(one)
    without = each_helm.render("migrations.enabled=false")
    assert _database_secret(without.services()["order"]["spec"]["template"]) == "meshmart-database"
