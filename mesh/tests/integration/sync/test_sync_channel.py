"""The synchronous channel over replicas: mutual TLS, balance, retries, deadlines, hedging, threads."""

import asyncio
import gc
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.ca import CertificateAuthority
from grpcmesh.client.sync.channel import SyncChannel
from grpcmesh.client.sync.host import Host
from grpcmesh.config import BalancerConfig, IdentityConfig, MeshConfig
from grpcmesh.identity import IdentityError, IdentityStore
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.replicas import Cluster, Wire
from tests.integration.sync.peer import until

_CONFIG = MeshConfig("client", balancer=BalancerConfig(slow_start=0.0, drain_timeout=5.0))


class Threads:
    """Replicas behind mutual TLS, on a loop in a thread, and synchronous channels to them."""

    def __init__(self, directory: Path) -> None:
        self.host = Host()
        self.host.start()
        self.cluster = self.host.run(_cluster(directory))
        self.servers = self.cluster.servers
        self.channels: list[SyncChannel] = []
        self.channel = self.open()
        self.stub: Any = PingServiceStub(self.channel)

    def open(self, **more: Any) -> SyncChannel:
        resolver = FakeResolver()
        resolver.set(*(server.endpoint for server in self.servers))
        arguments = {"identity": self.cluster.identity, "resolver": resolver, **more}
        self.channels.append(SyncChannel("ping", _CONFIG, **arguments))
        return self.channels[-1]

    def ready(self, count: int = 3) -> None:
        self.channel.enter()
        until(lambda: [e["state"] for e in self.channel.state()["endpoints"]].count("ready") == count)

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
        self.host.run(_stop(self.cluster))
        self.host.stop()


async def _cluster(directory: Path) -> Cluster:
    cluster = Cluster(directory)
    for _ in range(3):
        await cluster.add()
    return cluster


async def _stop(cluster: Cluster) -> None:
    for server in cluster.servers:
        await server.stop()


@pytest.fixture
def threads(tmp_path: Path) -> Iterator[Threads]:
    made = Threads(tmp_path)
    yield made
    made.close()


def _left(channel: SyncChannel) -> dict[str, int]:
    """Return what calls have taken and not given back."""
    core = channel.core
    in_flight = sum(e.in_flight for e in core.balancer.endpoints.values())
    return {
        "calls": len(core.calls),
        "in flight": in_flight,
        "breaker": core.breaker.in_flight,
        "waiting": len(core.pool.waiting),
    }


_NOTHING = {"calls": 0, "in flight": 0, "breaker": 0, "waiting": 0}


def test_calls_of_threads_are_balanced(threads: Threads) -> None:
    # Without outlier detection: replicas that share a process with 20 busy threads may really stall.
    store = ServiceConfigStore(None, json.dumps({"ping": {"loadBalancingConfig": [{"round_robin": {}}]}}))
    store.load()
    threads.channel = threads.open(service_config=store)
    threads.ready()
    stub: Any = PingServiceStub(threads.channel)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: stub.Ping(PingRequest(), timeout=60), range(300)))
    counts = Counter(answer.replica for answer in answers)
    assert counts == {"ping-1": 100, "ping-2": 100, "ping-3": 100}
    assert _left(threads.channel) == _NOTHING


def test_servers_of_another_workload_or_ca_get_no_call(threads: Threads, tmp_path: Path) -> None:
    foreign = CertificateAuthority().issue("client")
    identity = threads.cluster.load(foreign)
    stub: Any = PingServiceStub(threads.open(identity=identity))
    with pytest.raises(grpc.RpcError) as e:
        stub.Ping(PingRequest(), timeout=20)
    assert e.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not any(server.servicer.calls for server in threads.servers)


def test_without_a_certificate_the_first_call_says_so(tmp_path: Path) -> None:
    store = IdentityStore(IdentityConfig(directory=tmp_path / "none"))
    channel = SyncChannel("ping", _CONFIG, identity=store, resolver=FakeResolver())
    with pytest.raises(IdentityError):
        PingServiceStub(channel).Ping(PingRequest(), timeout=5)  # type: ignore[call-arg]
    assert "grpcmesh" not in {thread.name for thread in threading.enumerate()}
    channel.close()


@pytest.mark.parametrize("method", ["Ping", "future", "Count"])
def test_an_idempotent_call_is_retried_at_another_replica(threads: Threads, method: str) -> None:
    threads.ready()
    request = PingRequest(fail_code="UNAVAILABLE", fail_times=1, count=1)
    stub = threads.stub
    call = {"Ping": stub.Ping.with_call, "future": stub.Ping.future, "Count": stub.Count}[method](request)
    made = call[1] if method == "Ping" else call
    if method == "Count":
        assert len(list(call)) == 1
    assert made.code() is grpc.StatusCode.OK
    assert made.attempts == 2
    assert sum(sum(server.servicer.calls.values()) for server in threads.servers) == 2
    with pytest.raises(grpc.RpcError) as e:
        stub.Poke(PingRequest(fail_code="UNAVAILABLE", fail_times=1))
    assert e.value.code() is grpc.StatusCode.UNAVAILABLE
    assert _left(threads.channel) == _NOTHING


def test_a_call_waits_for_an_endpoint_until_its_deadline(threads: Threads) -> None:
    resolver = FakeResolver()
    stub: Any = PingServiceStub(threads.open(resolver=resolver))
    with pytest.raises(grpc.RpcError) as e:
        stub.Ping(PingRequest(), timeout=0.3)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no endpoint of ping is known" in e.value.details()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(stub.Ping, PingRequest(), timeout=60) for _ in range(3)]
        until(lambda: len(threads.channels[-1].core.pool.waiting) == 3)
        threads.host.run(_set(resolver, threads.servers[0].endpoint))
        assert [one.result(60).replica for one in waiting] == ["ping-1"] * 3
    assert _left(threads.channels[-1]) == _NOTHING


async def _set(resolver: FakeResolver, *endpoints: str) -> None:
    resolver.set(*endpoints)


def test_no_idempotent_call_fails_when_connections_are_reset_under_load(threads: Threads) -> None:
    wire = Wire(threads.servers[0].port)
    threads.host.run(wire.start())
    resolver = FakeResolver()
    resolver.set(wire.endpoint, *(server.endpoint for server in threads.servers[1:]))
    threads.channel = threads.open(resolver=resolver)
    stub: Any = PingServiceStub(threads.channel)
    threads.ready()
    stop = threading.Event()
    failures: list[object] = []
    answers: Counter[str] = Counter()

    def work() -> None:
        while not stop.is_set():
            try:
                answers[stub.Ping(PingRequest(), timeout=60).replica] += 1
            except grpc.RpcError as e:
                failures.append(e)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(work)
        until(lambda: answers.total() > 50)
        threads.host.soon(wire.cut)
        before = answers.total()
        until(lambda: answers.total() > before + 100)
        threads.host.run(wire.start())
        before = answers["ping-1"]
        until(lambda: answers["ping-1"] > before + 20)
        stop.set()
    assert not failures
    assert _left(threads.channel) == _NOTHING
    threads.channel.close()
    threads.host.soon(wire.cut)


def test_calls_of_every_kind_and_end_give_back_what_they_took(threads: Threads) -> None:
    threads.ready()
    stub = threads.stub

    def work(number: int) -> None:
        requests = [PingRequest(), PingRequest(fail_code="ABORTED"), PingRequest(delay=0.02)]
        request = requests[number % 3]
        request.count = 3
        options: dict[str, Any] = {"timeout": 0.01 if number % 5 == 0 else 60}
        try:
            match number % 4:
                case 0:
                    stub.Ping(request, **options)
                case 1:
                    future = stub.Ping.future(request, **options)
                    if number % 7 == 0:
                        future.cancel()
                    future.exception()
                case 2:
                    for _ in stub.Count(request, **options):
                        if number % 7 == 0:
                            break
                case _:
                    list(stub.Echo(iter([request] * 3), **options))
        except (grpc.RpcError, grpc.FutureCancelledError):
            return

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(work, range(600)))
    until(lambda: _left(threads.channel) == _NOTHING)


def test_hedging(threads: Threads) -> None:
    policy = {"maxAttempts": 2, "hedgingDelay": "0.05s", "nonFatalStatusCodes": ["UNAVAILABLE"]}
    names = [{"service": "mesh.testing.PingService", "method": "Ping"}]
    document = json.dumps({"ping": {"methodConfig": [{"name": names, "hedgingPolicy": policy}]}})
    store = ServiceConfigStore(None, document)
    store.load()
    threads.channel = threads.open(service_config=store)
    threads.ready()
    stub: Any = PingServiceStub(threads.channel)
    threads.servers[0].servicer.delay = 60
    answers = [stub.Ping.with_call(PingRequest(), timeout=60) for _ in range(3)]
    assert "ping-1" not in {answer.replica for answer, _ in answers}
    assert 2 in {call.attempts for _, call in answers}
    until(lambda: _left(threads.channel) == _NOTHING)


async def test_a_call_on_the_thread_of_the_loop_is_refused(tmp_path: Path) -> None:
    host = Host(asyncio.get_running_loop())
    channel = SyncChannel("ping", _CONFIG, identity=None, resolver=FakeResolver(), host=host)
    with pytest.raises(RuntimeError, match="would block the loop"):
        PingServiceStub(channel).Ping(PingRequest())  # type: ignore[call-arg]
    await channel.aclose(0)


def test_a_channel_that_is_dropped_closes_itself(threads: Threads) -> None:
    resolver = FakeResolver()
    resolver.set(*(server.endpoint for server in threads.servers))
    channel = SyncChannel("ping", _CONFIG, identity=threads.cluster.identity, resolver=resolver)
    stream: Any = PingServiceStub(channel).Count(PingRequest())  # type: ignore[call-arg]
    assert next(stream).number == 1
    (background,) = (t for t in threading.enumerate() if t.ident == channel.host.loop_thread)
    del channel
    assert next(stream).number == 2  # the call keeps its channel
    del stream
    gc.collect()
    background.join(60)
    assert not background.is_alive()
    until(lambda: not any(server.servicer.running for server in threads.servers))


def test_settings_that_change_are_applied_to_the_next_calls(threads: Threads, tmp_path: Path) -> None:
    file = tmp_path / "service_config.json"
    file.write_text("{}")
    store = ServiceConfigStore(file, "")
    store.load()
    threads.channel = threads.open(service_config=store)
    threads.ready()
    stub: Any = PingServiceStub(threads.channel)
    request = PingRequest(delay=0.3)
    assert stub.Ping(request, timeout=60).replica
    names = [{"service": "mesh.testing.PingService"}]
    file.write_text(json.dumps({"ping": {"methodConfig": [{"name": names, "timeout": "0.05s"}]}}))
    threads.channel.host.run(_poll(store))
    with pytest.raises(grpc.RpcError) as e:
        stub.Ping(request, timeout=60)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def _poll(store: ServiceConfigStore) -> None:
    store.poll()
