"""The log lines that the console shows on Kubernetes. A stand-in for the API (fake_api) serves the logs."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from meshmart.console import log_lines
from meshmart.console.choice import find
from meshmart.console.observer import Observer
from meshmart.kubernetes.api import MAX_LOG, Api
from meshmart.kubernetes.cluster import KubernetesCluster
from tests.integration.meshmart.fake_api import CONTEXT, FakeApi, fake_api
from tests.unit.meshmart.api_objects import deployment, pod

LOCATION = "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApi]:
    async with fake_api(tmp_path) as made:
        monkeypatch.setattr(LOCATION, str(made.kubeconfig))
        made.deployments = [deployment(wanted=2)]
        made.pods = [pod("product-a"), pod("product-b", created="2026-11-27T20:00:09Z")]
        yield made


@pytest.fixture
async def cluster(api: FakeApi) -> AsyncIterator[KubernetesCluster]:
    async with await Api.of_context(CONTEXT, "meshmart") as client:
        yield KubernetesCluster(client, {})


def line(second: int, msg: str) -> str:
    return json.dumps({"ts": f"2026-01-01T00:00:{second:02}.000Z", "level": "INFO", "msg": msg})


async def shown(cluster: KubernetesCluster, name: Sequence[str] = ("product",)) -> Any:
    """What the panel of a choice gets."""
    observer = Observer()
    observer.cluster(await cluster.status())
    choice = find(observer, name)
    assert choice is not None
    return json.loads(await log_lines.read(cluster, choice, ()))


async def test_the_lines_of_the_pods_of_a_service_are_in_the_order_of_time(
    api: FakeApi, cluster: KubernetesCluster
) -> None:
    api.logs = {"product-a": [line(1, "one"), line(3, "three")], "product-b": [line(2, "two")]}
    told = await shown(cluster)
    assert [(r["replica"], r["text"]) for r in told["rows"]] == [
        ("product-a", "one"), ("product-b", "two"), ("product-a", "three"),
    ]  # fmt: skip
    assert set(api.tails) == {log_lines.READ}
    assert [r["text"] for r in (await shown(cluster, ("product", "product-b")))["rows"]] == ["two"]


async def test_the_newest_lines_are_shown_however_long_the_lines_are(
    api: FakeApi, cluster: KubernetesCluster
) -> None:
    api.logs = {"product-a": [line(n, "x" * 20_000) for n in range(50)], "product-b": []}
    told = await shown(cluster)
    assert told["rows"][-1]["at"].startswith("2026-01-01T00:00:49")
    assert len(api.tails) < 10
    api.logs["product-a"].append("y" * 2 * MAX_LOG)  # longer than what is read of a log
    assert (await shown(cluster))["rows"][-1]["text"] == "y" * log_lines.MAX_TEXT


async def test_a_pod_that_only_starts_and_one_that_ends_are_no_reason_to_hide_the_others(
    api: FakeApi, cluster: KubernetesCluster
) -> None:
    api.logs = {"product-b": [line(1, "two")]}
    told = await shown(cluster)
    assert [r["text"] for r in told["rows"]] == ["two"]
    (why,) = told["unread"]
    assert why == 'Kubernetes refuses (400): container "product" in pod "product-a" is waiting to start'
    assert await cluster.logs("product", 2, 10) == [line(1, "two")]
    api.pods[1] = pod("product-b", created="2026-11-27T20:00:09Z", deleted=True)
    assert await cluster.logs("product", 2, 10) == [line(1, "two")]


async def test_an_account_without_the_right_to_read_logs_is_said(
    api: FakeApi, cluster: KubernetesCluster
) -> None:
    api.unreadable = {"product-a", "product-b"}
    assert '(403): pods "product-' in (await shown(cluster))["problem"]
