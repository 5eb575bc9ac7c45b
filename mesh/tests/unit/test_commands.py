"""`python -m grpcmesh`: the table of verbs, `config` and `ca`."""

import json
import os
import stat
from pathlib import Path

import pytest

from grpcmesh.__main__ import VERBS, main
from grpcmesh.commands import ca, config
from grpcmesh.config import MeshConfig
from grpcmesh.identity import IdentityStore


def run_config(capsys: pytest.CaptureFixture[str], *arguments: str, **environ: str) -> dict[str, list[str]]:
    assert config.main([*arguments, "--json"], environ) == 0
    return {s["name"]: [s["value"], s["source"]] for s in json.loads(capsys.readouterr().out)}


def test_without_a_verb_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {verb} " in listed for verb in VERBS)
    assert main(["configure"]) == 2
    assert "'configure' is no verb" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"python -m grpcmesh {verb}" in capsys.readouterr().out


def test_every_value_in_force_has_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text("[resolver]\nport = 50061\ntimeout = 3\n")
    environ = {"MESH_CONFIG_FILE": str(file), "MESH_RESOLVER_TIMEOUT": "4", "MESH_SERVICE": "order"}
    found = run_config(capsys, **environ)
    assert found["MESH_RESOLVER_PORT"] == ["50061", str(file)]
    assert found["MESH_RESOLVER_TIMEOUT"] == ["4.0", "environment"]
    assert found["MESH_RESOLVER_JITTER"] == ["0.1", "default"]
    assert found["MESH_SERVICE"] == ["order", "environment"]
    assert set(run_config(capsys, "--set", **environ)) == {
        "MESH_SERVICE", "MESH_RESOLVER_PORT", "MESH_RESOLVER_TIMEOUT",
    }  # fmt: skip


def test_the_text_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert config.main(["--set"], {"MESH_NAMESPACE": "shop"}) == 0
    assert capsys.readouterr().out == "MESH_NAMESPACE  shop  [environment]\n"


def test_secrets_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = run_config(
        capsys,
        MESH_TELEMETRY_OTLP_ENDPOINT="https://user:hunter2@collector:4317",
        MESH_CHANNEL_OPTIONS="product:api_key=hunter2,grpc.http_proxy=http://u:hunter2@proxy:1",
        MESH_ADMIN_TOKEN_FILE="/etc/token",
    )
    assert not [value for value, _ in found.values() if "hunter2" in value]
    assert found["MESH_TELEMETRY_OTLP_ENDPOINT"][0] == "https://[redacted]@collector:4317"
    assert found["MESH_ADMIN_TOKEN_FILE"][0] == "/etc/token"


def test_what_holds_for_a_target_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service_config = tmp_path / "service-config.json"
    service_config.write_text('{"product": {"methodConfig": [{"name": [{}], "timeout": "5s"}]}}')
    found = run_config(
        capsys,
        "product",
        "order",
        MESH_TARGETS="product=dns:///catalogue.shop:8443",
        MESH_CHANNEL_OPTIONS="product:grpc.http2.max_frame_size=65536",
        MESH_IDENTITY_SERVERS="product=spiffe://bank/ns/live/sa/catalogue",
        MESH_SERVICE_CONFIG_FILE=str(service_config),
    )
    assert found["product: endpoints"] == ["catalogue.shop.svc.cluster.local.:8443", "MESH_TARGETS"]
    assert found["product: resolver"] == ["dns", "MESH_TARGETS"]
    assert found["product: server"] == ["spiffe://bank/ns/live/sa/catalogue", "MESH_IDENTITY_SERVERS"]
    assert found["product: grpc.http2.max_frame_size"] == ["65536", "MESH_CHANNEL_OPTIONS"]
    assert found["product: methodConfig every method"] == ["timeout=5.0", str(service_config)]
    assert found["order: server"][0] == "spiffe://cluster.local/ns/default/sa/order"
    assert found["order: port"] == ["50051", "MESH_RESOLVER_PORT"]


def test_wrong_settings_and_targets_are_told_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert config.main([], {"MESH_RESOLVER_PORT": "0", "MESH_NO_SUCH": "1"}) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert config.main(["a b"], {}) == 2
    assert "is not a label" in capsys.readouterr().err


def accepted(directory: Path, service: str) -> IdentityStore:
    environ = {"MESH_IDENTITY_DIRECTORY": str(directory)}
    store = IdentityStore.of(MeshConfig.from_env(environ, service=service), serves=True)
    store.load()
    return store


def test_the_library_accepts_what_the_ca_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ca.main([str(tmp_path / "certs"), "greeter", "caller"], {}) == 0
    assert f"MESH_IDENTITY_DIRECTORY={tmp_path}/certs/greeter" in capsys.readouterr().out
    first = accepted(tmp_path / "certs" / "greeter", "greeter").current
    assert first.ca == accepted(tmp_path / "certs" / "caller", "caller").current.ca
    assert ca.main([str(tmp_path / "certs"), "greeter"], {}) == 0  # the same CA, a new certificate
    second = accepted(tmp_path / "certs" / "greeter", "greeter").current
    assert (second.ca, second.serial == first.serial) == (first.ca, False)


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    assert ca.main([str(tmp_path / "certs"), "greeter"], {}) == 0
    for key in (tmp_path / "certs" / "ca.key", tmp_path / "certs" / "greeter" / "tls.key"):
        assert stat.S_IMODE(os.stat(key).st_mode) == 0o600


@pytest.mark.parametrize("name", ["../x", "a/b", "a.b", "a:1", "dns:///a", "", "A b"])
def test_a_wrong_name_writes_nothing(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ca.main([str(tmp_path / "certs"), "fine", name], {}) == 2
    assert f"{name!r} is no name of a service" in capsys.readouterr().err
    assert not (tmp_path / "certs").exists()


def test_a_broken_ca_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ca.crt").write_text("nonsense")
    assert ca.main([str(tmp_path), "greeter"], {}) == 1
    assert str(tmp_path) in capsys.readouterr().err
    (tmp_path / "ca.key").write_text("nonsense")
    assert ca.main([str(tmp_path), "greeter"], {}) == 1
    assert not (tmp_path / "greeter").exists()


def test_settings_name_the_namespace_and_the_trust_domain(tmp_path: Path) -> None:
    environ = {"MESH_NAMESPACE": "shop", "MESH_IDENTITY_TRUST_DOMAIN": "example.org"}
    assert ca.main([str(tmp_path), "greeter"], environ) == 0
    environ["MESH_IDENTITY_DIRECTORY"] = str(tmp_path / "greeter")
    store = IdentityStore.of(MeshConfig.from_env(environ, service="greeter"), serves=True)
    store.load()
    assert str(store.current.workload) == "spiffe://example.org/ns/shop/sa/greeter"
