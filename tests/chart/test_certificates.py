"""Identities: what cert-manager is asked for, and where each pod finds its own."""

import pytest

from grpcmesh.call import Workload
from local.catalog import SHOP
from tests.chart.helm import Helm, Rendered, containers, environment

MEMBERS = {*SHOP, "client", "outsider"}
TLS = "/var/run/mesh/tls"


def leaves(rendered: Rendered) -> dict[str, dict]:  # type: ignore[type-arg]
    return {n: c["spec"] for n, c in rendered.of("Certificate").items() if not c["spec"].get("isCA")}


def test_every_member_of_the_mesh_has_a_certificate(defaults: Rendered) -> None:
    assert leaves(defaults).keys() == MEMBERS
    assert {n: spec["secretName"] for n, spec in leaves(defaults).items()} == {n: f"{n}-tls" for n in MEMBERS}


def test_a_certificate_carries_one_spiffe_uri_and_the_dns_names(defaults: Rendered) -> None:
    for name, spec in leaves(defaults).items():
        (uri,) = spec["uris"]
        assert Workload.parse(uri) == Workload("cluster.local", "shop", name)
        assert spec["dnsNames"] == [f"{name}.shop.svc.cluster.local", f"{name}.shop.svc"]
        assert set(spec["usages"]) == {"digital signature", "server auth", "client auth"}


def test_keys_are_p256_and_new_at_each_renewal(defaults: Rendered) -> None:
    for spec in leaves(defaults).values():
        assert spec["privateKey"] == {
            "algorithm": "ECDSA",
            "size": 256,
            "encoding": "PKCS8",
            "rotationPolicy": "Always",
        }


def test_the_ca_keeps_its_key_so_that_its_renewal_breaks_no_trust(defaults: Rendered) -> None:
    ca = defaults.of("Certificate")["meshmart-ca"]["spec"]
    assert ca["isCA"] is True
    assert ca["privateKey"]["rotationPolicy"] == "Never"
    assert ca["usages"] == ["cert sign", "crl sign"]
    assert defaults.of("Issuer")["meshmart-ca"]["spec"] == {"ca": {"secretName": ca["secretName"]}}
    assert defaults.of("Issuer")[ca["issuerRef"]["name"]]["spec"] == {"selfSigned": {}}


def test_each_generation_of_the_ca_has_a_name_of_its_own(each_helm: Helm, defaults: Rendered) -> None:
    second = each_helm.render("tls.ca.generation=2").of("Certificate")["meshmart-ca"]["spec"]
    assert second["commonName"] != defaults.of("Certificate")["meshmart-ca"]["spec"]["commonName"]


@pytest.mark.parametrize("length", [42, 43, 63])
def test_the_ca_of_a_namespace_of_any_length_has_a_name_of_its_own(each_helm: Helm, length: int) -> None:
    names = set()
    for last in "ab":
        done = each_helm.template("tls.ca.generation=12", namespace="n" * (length - 1) + last)
        assert done.returncode == 0, done.stderr
        names.add(Rendered(done.stdout).of("Certificate")["meshmart-ca"]["spec"]["commonName"])
    assert len(names) == 2
    assert max(map(len, names)) <= 64  # X.520


def test_an_issuer_of_ones_own_signs_instead(each_helm: Helm) -> None:
    own = each_helm.render('tls.issuerRef={"name":"corporate","kind":"ClusterIssuer"}')
    assert not own.of("Issuer")
    assert own.of("Certificate").keys() == MEMBERS
    for spec in leaves(own).values():
        assert spec["issuerRef"] == {"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"}


@pytest.mark.parametrize("mode", ["existing-secret", "generated"])
def test_without_cert_manager_nothing_of_it_is_rendered(each_helm: Helm, mode: str) -> None:
    assert "cert-manager.io/v1" not in {
        o["apiVersion"] for o in each_helm.render(f'tls.mode="{mode}"').objects
    }


def test_each_service_reads_the_secret_of_its_name(each_helm: Helm) -> None:
    for mode in ("cert-manager", "existing-secret", "generated"):
        for name, deployment in each_helm.render(f'tls.mode="{mode}"').services().items():
            pod = deployment["spec"]["template"]["spec"]
            (secret,) = [v["secret"]["secretName"] for v in pod["volumes"] if v["name"] == "tls"]
            (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "tls"]
            assert (secret, mount["mountPath"], mount["readOnly"]) == (f"{name}-tls", TLS, True)
            assert environment(pod["containers"][0])["MESH_IDENTITY_DIRECTORY"] == TLS


def test_an_existing_secret_may_have_another_name(each_helm: Helm) -> None:
    rendered = each_helm.render('tls.mode="existing-secret"', 'services.order.tlsSecret="order-certificate"')
    pod = rendered.services()["order"]["spec"]["template"]["spec"]
    assert {"name": "tls", "secret": {"secretName": "order-certificate"}} in pod["volumes"]


def test_a_trust_bundle_is_mounted_and_named_to_every_member(each_helm: Helm) -> None:
    rendered = each_helm.render('tls.trustBundle={"configMap":"roots","key":"bundle.pem"}')
    members = 0
    for name, pod in rendered.pods():
        for container in containers(pod):
            if "MESH_IDENTITY_DIRECTORY" not in environment(container):
                continue
            members += 1
            assert environment(container)["MESH_IDENTITY_BUNDLE"] == "/var/run/mesh/bundle/bundle.pem", name
            assert {"name": "bundle", "configMap": {"name": "roots"}} in pod["spec"]["volumes"], name
    assert members == len(SHOP) + 3  # three tests


def test_the_generating_job_is_asked_for_the_same_identities(each_helm: Helm) -> None:
    rendered = each_helm.render('tls.mode="generated"')
    arguments = rendered.of("Job")["certificates"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[:2] == ["-m", "meshmart.hooks.certificates"]
    assert set(arguments) >= MEMBERS
    renewal = rendered.of("CronJob")["certificate-renewal"]["spec"]["jobTemplate"]["spec"]["template"]
    assert renewal["spec"]["containers"][0]["args"] == arguments
    may = rendered.of("Role")["certificates"]["rules"]
    (kept,) = [rule for rule in may if "resourceNames" in rule]
    assert set(kept["resourceNames"]) == {"meshmart-ca", *(f"{n}-tls" for n in MEMBERS)}


def test_the_first_certificates_are_there_before_the_pods_and_the_job_goes(each_helm: Helm) -> None:
    rendered = each_helm.render('tls.mode="generated"')
    for kind in ("ServiceAccount", "Role", "RoleBinding", "Job"):
        annotations = rendered.of(kind)["certificates"]["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


def test_what_an_uninstall_leaves_is_found_by_the_labels_of_the_secrets(each_helm: Helm) -> None:
    for mode in ("cert-manager", "generated"):
        rendered = each_helm.render(f'tls.mode="{mode}"')
        job = rendered.of("Job")["cleanup"]
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-delete"
        arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
        told = arguments[arguments.index("--secrets") + 1]
        selector = dict(part.split("=") for part in told.split(","))
        for certificate in rendered.of("Certificate").values():
            assert certificate["spec"]["secretTemplate"]["labels"] == selector
        assert not [
            s for s in rendered.of("Secret").values() if s["metadata"]["labels"].items() >= selector.items()
        ]
