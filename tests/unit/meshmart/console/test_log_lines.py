"""The log lines of a choice."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError
from meshmart.console import log_lines
from meshmart.console.choice import Choice, find
from meshmart.console.observer import Observer
from meshmart.console.reads import Limits
from tests.unit.meshmart.console.pages import replica, status


def line(second: int, msg: str, **fields: Any) -> str:
    return json.dumps({"ts": f"2026-01-01T00:00:{second:02}.000Z", "level": "INFO", "msg": msg, **fields})


class Logs:
    """A cluster with these logs, by replica."""

    def __init__(self, **lines: list[str]) -> None:
        self.lines = lines
        self.asked: list[str] = []

    async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]:
        self.asked.append(f"{service}_{replica}")
        if f"{service}_{replica}" not in self.lines:
            raise ClusterError(f"there is no log of {service}/{replica}")
        return self.lines[f"{service}_{replica}"][-lines:]


def choice(*name: str, **services: int) -> tuple[Observer, Choice]:
    observer = Observer()
    named = enumerate(services.items(), 1)
    observer.cluster(
        status(**{s: [replica(n + 1, subnet) for n in range(count)] for subnet, (s, count) in named})
    )
    found = find(observer, name)
    assert found is not None
    return observer, found


async def read(logs: Logs, *name: str, **services: int) -> Any:
    observer, found = choice(*name, **services)
    callee = find(observer, [found.target])
    return json.loads(await log_lines.read(logs, found, callee.replicas if callee else ()))


async def test_the_lines_of_a_service_are_in_the_order_of_time() -> None:
    logs = Logs(product_1=[line(1, "one"), line(3, "three", order=7)], product_2=[line(2, "two")])
    told = await read(logs, "product", product=2)
    assert [(r["replica"], r["text"], r["fields"]) for r in told["rows"]] == [
        ("product-1", "one", ""), ("product-2", "two", ""), ("product-1", "three", "order=7"),
    ]  # fmt: skip


async def test_a_replica_has_its_own_lines_only() -> None:
    logs = Logs(product_1=[line(1, "one")], product_2=[line(2, "two")])
    told = await read(logs, "product", "product-2", product=2)
    assert [r["text"] for r in told["rows"]] == ["two"]
    assert logs.asked == ["product_2"]


async def test_an_edge_has_the_lines_of_its_calls() -> None:
    logs = Logs(
        order_1=[line(1, "product has no addresses in DNS"), line(2, "ready"), line(4, "call", caller="web")],
        product_1=[line(3, "call", caller="order", code="OK"), line(5, "call", caller="orders")],
    )
    told = await read(logs, "edge", "order", "product", order=1, product=1)
    assert [r["at"][17:19] for r in told["rows"]] == ["01", "03"]


async def test_a_traceback_stays_with_the_line_before_it() -> None:
    logs = Logs(product_1=[line(1, "one"), "Traceback (most recent call last):"], product_2=[line(2, "two")])
    told = await read(logs, "product", product=2)
    assert [r["text"][:9] for r in told["rows"]] == ["one", "Traceback", "two"]


async def test_a_log_that_cannot_be_read_does_not_hide_the_others() -> None:
    told = await read(Logs(product_1=[line(1, "one")]), "product", product=2)
    assert [r["text"] for r in told["rows"]] == ["one"]
    assert told["unread"] == ["there is no log of product/2"]
    assert (await read(Logs(product_1=[]), "product", product=1))["unread"] == []
    assert "there is no log of product/" in (await read(Logs(), "product", product=2))["problem"]


def test_a_log_that_does_not_come_is_given_up_and_the_others_are_shown() -> None:
    class Slow(Logs):
        async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]:
            if replica == 2:  # its node does not answer
                await asyncio.Event().wait()
            return await super().logs(service, replica, lines)

    async def test() -> float:
        began = asyncio.get_running_loop().time()
        told = await read(Slow(product_1=[line(1, "one")]), "product", product=2)
        assert [r["text"] for r in told["rows"]] == ["one"]
        assert told["unread"] == ["the log of product-2 was not there within 5 s"]
        return asyncio.get_running_loop().time() - began

    assert run_in_virtual_time(test()) == log_lines.PATIENCE < Limits().timeout


async def test_hostile_lines_are_bounded_and_cost_nothing_else() -> None:
    lines = [
        "{" * 60_000, "[" * 60_000, "\x00\x1b[31m", json.dumps({"ts": 3, "msg": []}), "x" * 60_000,
        line(1, "<img src=x>" * 9_999, trace_id="javascript:alert(1)", more={"a": ["b"] * 9_999}),
    ]  # fmt: skip
    told = await read(Logs(product_1=lines * 100), "product", product=1)
    assert len(told["rows"]) == log_lines.SHOWN
    for row in told["rows"]:
        assert max(len(row[name]) for name in ("text", "fields")) <= log_lines.MAX_TEXT
        assert row["trace"] == ""


async def test_of_many_replicas_so_many_logs_are_read() -> None:
    logs = Logs(**{f"product_{n}": [line(1, "one")] for n in range(1, 51)})
    told = await read(logs, "product", product=50)
    assert (len(logs.asked), told["read"], told["of"]) == (log_lines.MAX_REPLICAS, log_lines.MAX_REPLICAS, 50)


def test_a_line_of_any_depth_is_shown() -> None:
    for depth in range(1, 1200):
        text = '{"ts":"now","msg":"hello","deep":' + "[" * depth + "]" * depth + "}"
        (shown,) = log_lines.parsed("product-1", [text])
        assert "hello" in shown.text, depth
