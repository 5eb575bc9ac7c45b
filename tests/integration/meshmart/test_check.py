"""`meshmart check --context`: causes that are made to happen, with a real server, certificates and DNS.

Kubernetes is a stand-in (fake_api) whose exec runs the real `python -m grpcmesh check`.
"""

import asyncio
import datetime
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from meshmart.verbs import app
from tests.integration.meshmart.fake_api import CONTEXT
from tests.integration.meshmart.shopkit import PATIENCE, Shop, shops
from tests.unit.meshmart.api_objects import deployment, pod

SERVICE = "ecommerce.UserService"
#: $KUBECONFIG, as the client has read it when it was imported.
LOCATION = "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
OFF = "the admin port is switched off"


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    async with shops(tmp_path) as made:
        monkeypatch.setattr(LOCATION, str(made.api.kubeconfig))
        yield made


async def command(*arguments: str) -> Result:
    """Run `meshmart check` in a thread, because servers of the test run in this one."""
    words = ["check", "--context", CONTEXT, "--timeout", f"{PATIENCE:g}", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, app, words)


async def check(*arguments: str) -> dict[str, dict[str, Any]]:
    """Return the findings by cause. The exit status tells whether there are any."""
    done = await command("--json", *arguments)
    assert done.stdout, done.exception or done.output
    told = json.loads(done.stdout)
    assert done.exit_code == (1 if told["findings"] else 0), done.output
    found = {finding["cause"]: finding for finding in told["findings"]}
    assert len(found) == len(told["findings"]), told["findings"]
    return found


async def test_nothing_is_wrong_where_all_is_well(shop: Shop) -> None:
    shop.caller()
    done = await command()
    assert done.exit_code == 0, done.output
    assert "nothing wrong was found from inside 1 replica\n" in done.stdout
    assert f"{OFF} (MESH_ADMIN_ADDRESS) (seen from product-a)" in done.stdout
    assert shop.api.containers == ["product"]


async def test_one_cause_that_two_workloads_see_is_one_line(shop: Shop) -> None:
    shop.caller()
    shop.caller("product-b")
    assert shop.mesh is not None
    shop.mesh.set_health(SERVICE, serving=False)
    done = await command()
    assert done.exit_code == 1, done.output
    (line,) = [line for line in done.stdout.splitlines() if "[not_serving]" in line]
    assert line.startswith("user: 127.0.0.1:")
    assert f"says NOT_SERVING of {SERVICE}" in line
    assert line.endswith("Remedy: look at the server's log: it is starting, draining, or says itself that it "
                         "cannot serve. [not_serving] (seen from product-a, product-b)")  # fmt: skip


async def test_a_policy_that_denies_calls_of_the_shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shops(tmp_path, policy="allow = []") as shop:
        monkeypatch.setattr(LOCATION, str(shop.api.kubeconfig))
        shop.caller()
        found = await check()
    assert found.keys() == {"policy_denies"}
    assert f"denies us {SERVICE}/GetVerificationKeys" in found["policy_denies"]["problem"]


async def test_a_certificate_that_is_about_to_expire_and_a_name_that_is_not_headless(shop: Shop) -> None:
    now = datetime.datetime.now(datetime.UTC)
    shop.issue("product", not_before=now - datetime.timedelta(days=20), lifetime=datetime.timedelta(days=1))
    shop.caller(USER_SERVICE_HOST="127.0.0.1")
    found = await check()
    assert found.keys() == {"certificate_expiring", "not_headless"}
    assert "is not renewed yet" in found["certificate_expiring"]["problem"]
    assert "clusterIP: None" in found["not_headless"]["remedy"]
    assert found["not_headless"]["seen_from"] == ["product-a"]


async def test_a_replica_that_is_down_a_pod_that_is_missing_and_one_that_does_not_run(shop: Shop) -> None:
    shop.caller()
    crashed = pod("product-b", ready=False)
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}
    last = {"terminated": {"exitCode": 2, "reason": "Error"}}
    crashed["status"]["containerStatuses"][0] |= {"state": {"waiting": waiting}, "lastState": last}
    shop.api.pods.append(crashed)
    shop.api.deployments = [deployment("product", wanted=3)]
    found = await check()
    assert found.keys() == {"replica_missing", "replica_not_ready"}
    assert found["replica_missing"]["problem"] == "2 of 3 pods exist"
    assert found["replica_not_ready"]["subject"] == "product-b"
    assert "CrashLoopBackOff" in found["replica_not_ready"]["problem"]
    assert "its last process ended with status 2 (Error)" in found["replica_not_ready"]["problem"]


async def test_workloads_that_cannot_be_looked_at_are_findings(shop: Shop) -> None:
    programs: dict[str, Sequence[str]] = {
        "product-b": ("-c", "print('Hello')"),
        "product-c": ("-c", "import sys; sys.exit('no module named grpcmesh')"),
        "product-d": ("-c", "import sys; sys.exit(137)"),
    }
    for name in ("product-a", *programs):
        shop.caller(name)
    shop.api.instead, shop.api.forbidden = dict(programs), {"product-a"}
    done = await command("--json")
    found = {f["subject"]: f for f in json.loads(done.stdout)["findings"]}
    assert {f["cause"] for f in found.values()} == {"not_examined"}
    told = [found[f"product-{letter}"]["problem"] for letter in "abcd"]
    assert "403" in told[0]
    assert told[1].startswith("its output is not that of the check")
    assert told[2] == "the check ended with status 1: no module named grpcmesh"
    assert told[3] == "the check ended with status 137: it said nothing"


async def test_settings_that_are_wrong_are_a_finding(shop: Shop) -> None:
    shop.caller(MESH_DRAIN_DELAY="soon")
    found = await check()
    assert found.keys() == {"settings_invalid"}
    assert "MESH_DRAIN_DELAY" in found["settings_invalid"]["problem"]


async def test_settings_that_are_wrong_are_told_whatever_else_the_program_writes(shop: Shop) -> None:
    shop.caller()
    warning = f"{'a warning ' * 99}\ngrpcmesh: MESH_DRAIN_DELAY='soon'\n"
    words = f"import sys; sys.stderr.write({warning!r}); sys.exit(2)"
    shop.api.instead = {"product-a": ("-c", words)}
    found = await check()
    assert found["settings_invalid"]["problem"] == "grpcmesh: MESH_DRAIN_DELAY='soon'"


async def test_a_service_without_replicas_cannot_be_looked_at(shop: Shop) -> None:
    shop.caller()
    done = await command("order")
    assert done.exit_code == 1
    assert str(done.exception) == "no replica of order can be looked at; there are product"


async def test_there_is_no_shop(shop: Shop) -> None:
    done = await command()
    assert str(done.exception) == "there is no release of meshmart in namespace meshmart"
