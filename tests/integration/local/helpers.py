"""A cluster of stubs inside the test's own event loop, and bounded waiting."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import dns.rdatatype

from local.events import Event
from local.operations import Operations
from local.options import Options
from local.replica import Replica
from tests.integration.local.stub_cluster import supervisor
from tests.ports import loopback_prefix

PRODUCT = "product.meshmart.svc.cluster.local."


@functools.cache
def _own_prefix() -> str:
    """Of all clusters of this process, which follow each other: there are not so many prefixes."""
    return loopback_prefix()


def environ(**more: str) -> dict[str, str]:
    """Addresses that no other cluster on this machine has, and no trace store."""
    return {
        **os.environ,
        "MESHMART_LOOPBACK": _own_prefix(),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        **more,
    }


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if value if isinstance(value, bool) else await value:
                return
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


class Running:
    """A started cluster."""

    def __init__(self, state_dir: Path, env: dict[str, str], replicas: dict[str, int]) -> None:
        self.events: list[Event] = []
        self.supervisor = supervisor(Options(state_dir, port=0, replicas=replicas), env, self.events.append)
        self.operations = Operations(self.supervisor)

    async def do(self, verb: str, **arguments: Any) -> Any:
        lines: list[str] = []
        return await self.operations.handle({"verb": verb, **arguments}, lines.append)

    def replicas(self, service: str = "product") -> list[Replica]:
        return self.supervisor.deployments[service].replicas()

    def pids(self) -> list[int]:
        return [r.pid for r in self.supervisor.replicas() if r.pid]

    async def resolve(self, name: str = PRODUCT, kind: str = "A") -> set[str] | None:
        """What DNS answers over UDP; None for NXDOMAIN."""
        query = dns.message.make_query(name, kind)
        reply = await dns.asyncquery.udp(query, "127.0.0.1", 2, self.supervisor.dns.port)
        if reply.rcode() == dns.rcode.NXDOMAIN:
            return None
        return {str(rdata) for s in reply.answer for rdata in s}

    async def page(self) -> str:
        """One request of the web page, as a browser would make it; raises where that fails."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.supervisor.forwarder.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer.decode()


@asynccontextmanager
async def cluster(
    state_dir: Path, env: dict[str, str] | None = None, **replicas: int
) -> AsyncIterator[Running]:
    running = Running(state_dir, env or environ(), replicas)
    running.supervisor.state.prepare()
    ready = asyncio.Event()
    task = asyncio.create_task(running.supervisor.run(ready.set))
    try:
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        waiter.cancel()
        if task.done():
            await task
        yield running
    finally:
        running.supervisor.stopping.set()
        await asyncio.gather(task, return_exceptions=True)
