"""The console on a real Kubernetes (console.enabled and console.switches.enabled, as in demo.yaml)."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import Release

#: Seconds that anything may take on a loaded cluster.
PATIENCE = 180.0


def kubectl(release: Release, *arguments: str) -> list[str]:
    return ["kubectl", "--context", release.context, "--namespace", release.namespace, *arguments]


@pytest.fixture(scope="module")
def address(release: Release) -> Iterator[str]:
    """The console's address, through a port-forward."""
    forward = kubectl(release, "port-forward", "service/console", ":8081", "--address=127.0.0.1")
    with subprocess.Popen(forward, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", said)
            assert found, said
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()


@pytest.fixture
def page(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, headers={"origin": address}, timeout=60) as client:
        yield client


def log_in(page: httpx.Client, name: str) -> httpx.Response:
    return page.post("/api/login", json={"name": name, "password": f"{name}-password"})


def services(page: httpx.Client) -> dict[str, dict[str, dict[str, Any]]]:
    """The replicas by service and name."""
    told = page.get("/api/state").raise_for_status().json()
    return {s["name"]: {r["name"]: r for r in s["replicas"]} for s in told["services"]}


def eventually(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.5)


def test_only_admins_who_have_logged_in_see_it(page: httpx.Client) -> None:
    assert page.get("/health").status_code == 200
    assert page.get("/").status_code == 401
    assert page.get("/api/state").status_code == 401
    assert log_in(page, "bob").status_code == 403
    assert page.get("/api/state").status_code == 401
    assert log_in(page, "alice").status_code == 200
    assert page.get("/api/state").status_code == 200


def test_it_shows_the_pods_and_their_figures(release: Release, page: httpx.Client) -> None:
    log_in(page, "alice")
    pods = {
        r["pod"]
        for s in json.loads(release.good("status", "--json"))["services"].values()
        for r in s["replicas"]
    }

    def same() -> bool:
        shown = [r for replicas in services(page).values() for r in replicas.values()]
        return {r["name"] for r in shown} == pods and all(r["state"] == "ready" and "age" in r for r in shown)

    eventually(same)


def test_a_pod_that_an_admin_kills_is_replaced(page: httpx.Client) -> None:
    log_in(page, "alice")
    victim = next(iter(services(page)["product"].values()))
    wanted = {"action": "kill", "arguments": {"service": "product", "replica": victim["id"]}}
    assert page.post("/api/do", json=wanted).status_code == 202

    def healed() -> bool:
        product = services(page)["product"]
        return victim["name"] not in product and all(r["state"] == "ready" for r in product.values())

    eventually(healed)

    def entries() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = page.get("/api/log").json()["entries"]
        return [e for e in found if e["action"] == "kill"][:2]

    eventually(lambda: [e["outcome"] for e in entries()] == ["done", "started"])
    assert {e["who"] for e in entries()} == {"alice"}


def test_the_log_lines_of_a_service_are_those_of_its_pods(page: httpx.Client) -> None:
    log_in(page, "alice")
    told: dict[str, Any] = {}

    def read() -> bool:
        told.update(page.get("/api/logs", params={"name": "product"}).raise_for_status().json())
        return {row["replica"] for row in told.get("rows", ())} == {*services(page)["product"]}

    eventually(read)
    assert all(row["at"] and row["level"] for row in told["rows"])
    assert told["unread"] == []


@pytest.mark.parametrize("name", ["kill", "one-pod"])
def test_its_pod_plays_an_experiment(page: httpx.Client, name: str) -> None:
    log_in(page, "alice")
    assert page.post("/api/experiments/start", json={"name": name}).status_code == 202
    eventually(lambda: page.get("/api/experiments/state").json()["running"] is None)
    result = page.get(f"/api/experiments/of/{name}").raise_for_status().json()
    # Whole: pytest would cut the figures off.
    assert result["verdict"] == "passed", json.dumps(result, indent=1)


def test_a_scene_that_reads_the_database_is_refused(page: httpx.Client) -> None:
    log_in(page, "alice")
    refused = page.post("/api/experiments/start", json={"name": "no-lost-orders"})
    assert refused.status_code == 409
    assert "meshmart tour no-lost-orders --context" in refused.text


@pytest.mark.parametrize(
    "verb",
    [
        "get secrets",
        "create pods --subresource=exec",
        "get pods",
        "patch deployments/client",
        "delete services",
    ],
)
def test_its_account_may_not(release: Release, verb: str) -> None:
    account = f"--as=system:serviceaccount:{release.namespace}:console"
    done = subprocess.run(
        kubectl(release, "auth", "can-i", *verb.split(), account), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "no", done.stderr
