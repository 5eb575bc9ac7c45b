"""The verbs with --context, on a real Kubernetes."""

import json
import signal
import subprocess
import time

from tests.cluster.conftest import Release


def test_every_replica_of_the_release_is_ready(release: Release) -> None:
    services = json.loads(release.good("status", "--json"))["services"]
    assert {"product", "order", "payment", "user", "storefront"} <= set(services)
    replicas = [r for s in services.values() for r in s["replicas"]]
    assert [r["pod"] for r in replicas if not r["ready"]] == []


def test_a_call_is_made_by_the_toolbox_and_answered_in_json(release: Release) -> None:
    answer = json.loads(release.good("call", "ecommerce.ProductService/GetProduct", '{"id": 1}'))
    assert answer["product"]["id"] == 1


def test_the_exit_status_and_the_error_are_those_of_the_verb_there(release: Release) -> None:
    done = release.run("call", "ecommerce.ProductService/GetProduct", '{"id": 999999}')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("meshmart: NOT_FOUND: ")


def test_the_outsider_may_call_nothing(release: Release) -> None:
    done = release.run("call", "ecommerce.ProductService/GetProduct", '{"id": 1}', "--as", "outsider")
    assert "PERMISSION_DENIED" in done.stderr


def test_a_person_logs_in_through_the_toolbox(release: Release) -> None:
    assert release.good("token", "--user", "bob").count(".") == 2


def test_load_sees_every_replica_and_no_error(release: Release) -> None:
    told = json.loads(release.good("load", "--rps", "20", "--duration", "5s", "--json"))
    assert told["errors"] == 0
    assert len(told["shares"]["product"]["replicas"]) == len(release.replicas("product"))


def test_scaling_returns_when_the_replicas_are_ready_or_gone(release: Release) -> None:
    before = len(release.replicas("product"))
    release.good("scale", f"product={before + 1}")
    assert [r["ready"] for r in release.replicas("product")] == [True] * (before + 1)
    release.good("scale", f"product={before}")
    assert len(release.replicas("product")) == before


def test_a_killed_pod_is_replaced_and_not_restarted(release: Release) -> None:
    victim = release.replicas("product")[0]
    release.good("kill", "product/1")
    release.good("scale", f"product={len(release.replicas('product'))}")
    now = release.replicas("product")
    assert victim["pod"] not in [r["pod"] for r in now]
    assert [r["restarts"] for r in now] == [0] * len(now)


def test_a_restart_replaces_every_pod(release: Release) -> None:
    before = {r["pod"] for r in release.replicas("product")}
    release.good("restart", "product")
    assert before.isdisjoint(r["pod"] for r in release.replicas("product"))


def test_renewing_gives_every_workload_another_serial(release: Release) -> None:
    first, second = release.good("rotate-certs"), release.good("rotate-certs")
    serials = [{w: s for w, _, s in map(str.split, text.splitlines())} for text in (first, second)]
    assert {"product", "client", "outsider", "storefront"} <= set(serials[0])
    assert all(serials[0][workload] != serial for workload, serial in serials[1].items())


def test_an_unknown_service_is_a_clear_error(release: Release) -> None:
    done = release.run("scale", "produce=2")
    assert done.returncode == 1
    assert done.stderr.startswith("meshmart: there is no service 'produce'; there are analytics,")


def test_faults_are_set_shown_and_cleared(release: Release) -> None:
    release.good("fault", "set", "product", "--method", "GetProduct", "--delay", "10ms", "--for", "60s")
    try:
        assert json.loads(release.good("fault", "list", "product", "--json"))
    finally:
        release.good("fault", "clear", "product")
    assert json.loads(release.good("fault", "list", "product", "--json")) == []


def test_the_books_are_audited_there(release: Release) -> None:
    assert json.loads(release.good("audit", "--settle", "30s", "--json"))["problems"] == []


def test_ctrl_c_ends_the_verb_there_too(release: Release) -> None:
    command = release.command("load", "--rps", "1", "--duration", "10m")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        process.stderr.read(1)  # it has begun
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.wait(30) == 130
    assert time.monotonic() - started < 25
