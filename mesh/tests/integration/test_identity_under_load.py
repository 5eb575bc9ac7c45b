"""Certificates that change under load, between real processes: good ones cost no call."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.testing.ping_pb2 import PingRequest
from tests.integration.ping_processes import PATIENCE, Processes, not_frozen, processes, trusting
from tests.integration.replicas import eventually


class Load:
    """Callers that make calls one after the other, none of which is idempotent or retried, and idle
    streams of both kinds, which have to live on."""

    def __init__(self, running: Processes, callers: int = 6) -> None:
        self._running, self._callers = running, callers
        self._done = asyncio.Event()
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.streams: list[Any] = []

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._callers)]
        for _ in range(4):
            down = self._running.stub.Count(PingRequest(delay=0.2))
            both = self._running.stub.Echo(self._slowly())
            for stream in (down, both):
                await stream.read()
                self.streams.append(stream)
        self._readers = [asyncio.create_task(self._read(stream)) for stream in self.streams]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._done.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), PATIENCE)
        for reader in self._readers:
            reader.cancel()
        await asyncio.wait(self._readers)
        for stream in self.streams:
            stream.cancel()

    async def more(self, count: int = 100) -> None:
        """Wait for `count` more answers."""
        wanted = self.answers.total() + count
        await eventually(lambda: self.answers.total() >= wanted, PATIENCE)

    async def _call(self) -> None:
        while not self._done.is_set():
            try:
                response = await self._running.stub.Poke(PingRequest())
                self.answers[response.replica] += 1
            except grpc.aio.AioRpcError as e:
                self.failures.append(f"{e.code().name} {e.details()}")
                await asyncio.sleep(0.01)

    async def _read(self, stream: Any) -> None:
        try:
            while await stream.read() is not grpc.aio.EOF:
                pass
            self.failures.append("a stream ended")
        except grpc.aio.AioRpcError as e:
            self.failures.append(f"a stream ended: {e.code().name} {e.details()}")

    async def _slowly(self) -> AsyncIterator[PingRequest]:
        while True:
            yield PingRequest()
            await asyncio.sleep(0.2)


async def test_renewing_every_certificate_under_load_fails_no_call_and_no_stream(tmp_path: Path) -> None:
    async with processes(tmp_path, 3) as running:
        async with Load(running) as load:
            await load.more()
            for _ in range(3):
                before = running.identity.current.serial
                serials = running.issue()
                await eventually(lambda old=before: running.identity.current.serial != old, PATIENCE)

                await running.shown(serials)
                await load.more()
            await running.ready(3)
            await load.more()
            assert all(not stream.done() for stream in load.streams)
        assert load.failures == []
        assert set(load.answers) == {"ping-1", "ping-2", "ping-3"}


async def test_a_new_ca_by_way_of_a_bundle_of_both_fails_no_call_and_no_stream(tmp_path: Path) -> None:
    async with processes(tmp_path, 2) as running:
        old, new = running.ca, CertificateAuthority(generation=2)

        async def give(issuer: CertificateAuthority, *bundle: CertificateAuthority) -> None:
            leaf = issuer.issue("client")
            for replica in running.replicas:
                write_atomically(replica.certs, trusting(issuer.issue("ping"), *bundle).files())
            write_atomically(running.client, trusting(leaf, *bundle).files())
            serial = leaf.certificate.serial_number
            await eventually(lambda: running.identity.current.serial == serial, PATIENCE)

        async with Load(running) as load:
            await load.more()
            await give(old, old, new)  # first everybody trusts both,
            await load.more(200)
            await give(new, old, new)  # then all are renewed
            await load.more(200)
            await running.ready(2)
        assert load.failures == []


async def test_a_bundle_that_distrusts_the_servers_and_then_a_restart_freezes_nothing(tmp_path: Path) -> None:
    with not_frozen(5 * PATIENCE):
        async with processes(tmp_path, 2) as running:
            own = running.ca.issue("client")
            stranger = CertificateAuthority(generation=2)
            async with Load(running) as load:
                await load.more()
                leaf = trusting(stranger.issue("client"), stranger)
                write_atomically(running.client, leaf.files())
                await eventually(lambda: load.failures, PATIENCE)
                for replica in running.replicas:
                    replica.kill()
                    replica.start()
                failed, named = len(load.failures), ("bundle", "certificate")
                await eventually(lambda: len(load.failures) > failed + 20, PATIENCE)
                # Once they listen again, which takes its time, calls fail for the bundle as before.
                await eventually(lambda: any(word in load.failures[-1] for word in named), PATIENCE)
                assert all("UNAVAILABLE" in failure for failure in load.failures)

                write_atomically(running.client, own.files())
                await load.more()
                await running.ready(2)


@pytest.mark.parametrize("attempt", range(3))
async def test_a_renewal_and_a_restart_in_the_same_instant_freeze_nothing(
    tmp_path: Path, attempt: int
) -> None:
    with not_frozen(5 * PATIENCE):
        async with processes(tmp_path, 2) as running, Load(running) as load:
            await load.more()
            serials = running.issue()
            for replica in running.replicas:
                replica.kill()
                replica.start()
            await running.shown(serials)
            await running.ready(2)
            await load.more()
            assert all("UNAVAILABLE" in failure for failure in load.failures)
