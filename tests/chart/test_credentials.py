"""The database's password and the signing key: made in the cluster, never while rendering, and kept."""

import pytest

from local.catalog import SHOP
from tests.chart.helm import Helm, Manifest, Rendered, containers, environment


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
    assert kept["resourceNames"] == ["meshmart-database", "user-signing-keys"]
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
