"""Replicas that come, go, fall ill and change certificates, while calls run."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.balancer import LOAD_KEY, LoadReport
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.config import BalancerPolicyName, HealthConfig
from grpcmesh.resolver import Address
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.replicas import CONFIG, Cluster, Load, Wire, cluster, eventually, with_balancer


async def test_three_replicas_get_equal_shares(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as ping:
        for _ in range(99):
            await ping.stub.Ping(PingRequest())
        assert [s.servicer.calls["Ping"] for s in ping.servers] == [33, 33, 33]


@pytest.mark.parametrize(
    "policy", ["round_robin", "least_request", "peak_ewma", "random", "weighted_round_robin"]
)
async def test_every_policy_uses_every_replica(tmp_path: Path, policy: BalancerPolicyName) -> None:
    async with cluster(tmp_path, 3, with_balancer(policy=policy)) as ping:
        for server in ping.servers:
            server.servicer.trailing = ((LOAD_KEY, LoadReport(cpu_utilization=0.5, qps=10).encode()),)
        await asyncio.gather(*(ping.stub.Ping(PingRequest()) for _ in range(60)))
        assert all(s.servicer.calls["Ping"] for s in ping.servers)
        assert ping.channel.state()["policy"] == policy


async def test_a_replica_killed_under_load_fails_no_idempotent_call(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as ping:
        # A server that is stopped ends its calls in order; a wire that is cut ends them as a kill does.
        wire = Wire(ping.servers[0].port)
        await wire.start()
        ping.resolver.set(wire.endpoint, *(s.endpoint for s in ping.servers[1:]))
        await eventually(lambda: ping.states().get(wire.endpoint) == "ready")
        async with Load(ping.stub) as load:
            await load.more()
            for _ in range(3):
                wire.cut()
                await eventually(lambda: ping.states()[wire.endpoint] == "failed")
                assert "ping-1" not in await load.more()
                assert ping.resolver.refreshes >= 1
                await wire.start()
                await ping.ready(3)
                assert (await load.more(300))["ping-1"]
        assert load.failures == []
        assert ping.in_flight() == 0
        await ping.channel.close()
        wire.cut()


async def test_not_serving_leaves_rotation_within_a_few_round_trips(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        sick = ping.servers[0]
        await sick.set_serving(False)
        calls = 0
        while ping.states()[sick.endpoint] != "unhealthy":
            await ping.stub.Ping(PingRequest(), timeout=60)
            calls += 1
        assert calls < 100
        assert {(await ping.stub.Ping(PingRequest())).replica for _ in range(10)} == {"ping-2"}
        await sick.set_serving(True)
        await eventually(lambda: ping.states()[sick.endpoint] == "ready")


async def test_a_server_without_health_counts_as_healthy(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        plain = await ping.add(watchable=False)
        ping.resolve(plain)
        await eventually(lambda: ping.states() == {plain.endpoint: "ready"})
        assert (await ping.stub.Ping(PingRequest())).replica == "ping-2"


async def test_without_the_watch_a_connection_is_enough(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, replace(CONFIG, health=HealthConfig(watch=False))) as ping:
        await ping.servers[0].set_serving(False)
        await ping.stub.Ping(PingRequest())
        assert list(ping.states().values()) == ["ready"]


async def test_a_new_replica_gets_its_share(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping, Load(ping.stub) as load:
        await ping.add()
        ping.resolve(*ping.servers)
        await ping.ready(3)
        share = (await load.more(300))["ping-3"] / 300
        assert share == pytest.approx(1 / 3, abs=0.05)
    assert load.failures == []


async def test_a_replica_that_leaves_dns_finishes_its_calls(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        leaving, staying = ping.servers
        calls = [ping.stub.Ping(PingRequest(delay=0.3)) for _ in range(2)]
        await eventually(lambda: leaving.servicer.running == 1)
        ping.resolve(staying)
        await eventually(lambda: ping.states()[leaving.endpoint] == "draining")
        assert {(await ping.stub.Ping(PingRequest())).replica for _ in range(4)} == {staying.servicer.replica}
        assert {(await c).replica for c in calls} == {"ping-1", "ping-2"}
        await eventually(lambda: leaving.endpoint not in ping.states())
        assert ping.channel._core.pool.drains == {"finished": 1, "cut": 0}


async def test_a_drain_ends_at_its_timeout_and_tells_the_callers_why(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, with_balancer(drain_timeout=0.1)) as ping:
        leaving, staying = ping.servers
        calls = [ping.stub.Poke(PingRequest(delay=30)) for _ in range(2)]
        await eventually(lambda: leaving.servicer.running == 1)
        ping.resolve(staying)
        await eventually(lambda: leaving.endpoint not in ping.states())
        (cut,) = [call for call in calls if call.done()]
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await cut
        assert e.value.code() is grpc.StatusCode.UNAVAILABLE
        assert f"{leaving.endpoint} is no longer an endpoint of ping" in (e.value.details() or "")
        assert ping.channel._core.pool.drains == {"finished": 0, "cut": 1}


async def test_an_idempotent_call_that_a_drain_cuts_is_made_elsewhere(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, with_balancer(drain_timeout=0.1)) as ping:
        leaving, staying = ping.servers
        leaving.servicer.delay = 30
        calls = [ping.stub.Ping(PingRequest()) for _ in range(2)]
        await eventually(lambda: leaving.servicer.running == 1)
        ping.resolve(staying)
        assert [(await call).replica for call in calls] == ["ping-2", "ping-2"]


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_stream_on_an_endpoint_that_left_hears_why(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, with_balancer(drain_timeout=0.1)) as ping:
        leaving, staying = ping.servers
        calls = [ping.stub.Count(PingRequest(delay=0.01)) for _ in range(2)]
        for call in calls:
            await call.read()
        ping.resolve(staying)
        (cut,) = [call for call in calls if call.endpoint == leaving.endpoint]
        with pytest.raises(grpc.aio.AioRpcError, match="is no longer an endpoint of ping") as e:
            await asyncio.wait_for(read_to_the_end(cut), 10)
        assert e.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_outlives_the_certificates_it_began_with(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1, with_balancer(drain_timeout=0.05)) as ping:
        call = ping.stub.Count(PingRequest(delay=0.01))
        await call.read()
        write_atomically(ping.directory, ping.ca.issue("client").files())
        assert ping.identity.poll()
        await eventually(lambda: len(ping.channel.state()["endpoints"]) == 2)
        # Both connections are up: the stream goes on with the old one, and new calls take the new one.
        await asyncio.sleep(0.2)
        for _ in range(20):
            assert (await call.read()).replica == "ping-1"
        await ping.stub.Ping(PingRequest())
        assert len(ping.channel.state()["endpoints"]) == 2
        call.cancel()
        await eventually(lambda: len(ping.channel.state()["endpoints"]) == 1)
        assert ping.channel._core.pool.drains == {"finished": 1, "cut": 0}


async def test_an_empty_answer_keeps_endpoints_that_work(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        await ping.servers[0].stop()
        await eventually(lambda: ping.states()[ping.servers[0].endpoint] == "failed")
        ping.resolver.set()
        await eventually(lambda: ping.states() == {ping.servers[1].endpoint: "ready"})
        await ping.stub.Ping(PingRequest())


async def test_certificates_change_under_load_without_a_failed_call(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as ping, Load(ping.stub) as load:
        slow = ping.stub.Ping(PingRequest(delay=0.5))
        for _ in range(3):
            write_atomically(ping.directory, ping.ca.issue("client").files())
            assert ping.identity.poll()
            await eventually(lambda: len(ping.channel.state()["endpoints"]) > 3)
            await load.more()
        await slow
        # The old connections close when their calls have ended.
        await eventually(lambda: len(ping.channel.state()["endpoints"]) == 3)
        assert set(ping.states().values()) == {"ready"}
    assert load.failures == []


async def test_a_certificate_that_is_refused_does_not_replace_one_that_works(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        stranger = CertificateAuthority().issue("client")
        write_atomically(ping.directory, {**stranger.files(), "ca.crt": ping.ca.pem})
        # The store checks the pair, not the issuer; the servers do.
        ping.identity.poll()
        for _ in range(20):
            await ping.stub.Ping(PingRequest())
            await asyncio.sleep(0.01)
        assert list(ping.states().values()).count("ready") == 2


async def test_a_client_of_another_ca_is_refused_and_told_why(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with cluster(tmp_path, 1) as ping:
        other = Cluster(tmp_path_factory.mktemp("other"))
        other.resolver = ping.resolver
        channel = other.open()
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await PingServiceStub(channel).Ping(PingRequest())
        await channel.close()
        assert e.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "failed" in (e.value.details() or "")
        assert "of a CA that is not in our bundle" in (e.value.details() or "")


async def test_calls_fail_fast_when_every_endpoint_is_down(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        await ping.servers[0].stop()
        await eventually(lambda: "failed" in ping.states().values())
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await ping.stub.Poke(PingRequest(), timeout=60)  # one that waits ends with its deadline
        assert e.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "Connection refused" in (e.value.details() or "")


async def test_a_call_that_waits_for_ready_outlasts_an_outage(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        await ping.servers[0].stop()
        await eventually(lambda: "failed" in ping.states().values())
        call = ping.stub.Poke(PingRequest(), wait_for_ready=True, timeout=10)
        await asyncio.sleep(0.05)
        assert not call.done()
        await ping.servers[0].start()
        assert (await call).replica == "ping-1"


async def test_calls_wait_for_a_name_that_does_not_exist_yet(tmp_path: Path) -> None:
    ping = Cluster(tmp_path)
    call = ping.stub.Ping(PingRequest())
    forgotten = ping.stub.Ping(PingRequest(), timeout=0.05)
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await forgotten
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the name does not exist" in (e.value.details() or "")
    server = await ping.add()
    ping.resolve(server)
    assert (await call).replica == "ping-1"
    await ping.channel.close()
    await server.stop()


async def test_every_kind_may_be_the_first_call_of_a_channel_never_started(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        first = ping.open()
        assert (await PingServiceStub(first).Ping(PingRequest())).replica == "ping-1"
        second = ping.open()
        assert [m.number async for m in PingServiceStub(second).Count(PingRequest(count=2))] == [1, 2]
        third = ping.open()
        assert (await PingServiceStub(third).Sum(iter([PingRequest()]))).number == 1
        fourth = ping.open()
        echo = PingServiceStub(fourth).Echo()
        await echo.write(PingRequest(text="a"))
        assert (await echo.read()).text == "a"
        echo.cancel()
        for channel in (first, second, third, fourth):
            await channel.close()


async def test_a_waiting_call_can_be_cancelled_or_dropped(tmp_path: Path) -> None:
    ping = Cluster(tmp_path)
    call = ping.stub.Ping(PingRequest())
    stream = ping.stub.Count(PingRequest())
    task = asyncio.ensure_future(ping.stub.Ping(PingRequest()))
    await asyncio.sleep(0)
    assert ping.channel.state()["waiting"] == 3
    call.cancel()
    task.cancel()
    del stream
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ping.channel.state()["waiting"] == 0
    await ping.channel.close()


async def test_closing_lets_calls_end_within_the_grace(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        call = ping.stub.Ping(PingRequest(delay=0.1))
        await eventually(lambda: ping.servers[0].servicer.running == 1)
        await ping.channel.close(grace=60)
        assert (await call).replica == "ping-1"
        with pytest.raises(grpc.aio.UsageError):
            ping.stub.Ping(PingRequest())


async def test_no_task_outlives_the_channel(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with cluster(tmp_path, 2) as ping:
        await ping.stub.Ping(PingRequest())
        await ping.channel.close()
        names = {"resolver", "connection", "drain"}
        assert not [t for t in asyncio.all_tasks() - before if t.get_name() in names]


class Stumbling(FakeResolver):
    """A resolver whose first watch fails."""

    stumbled = False

    async def watch(self) -> AsyncGenerator[frozenset[Address]]:
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError("stumbled")
        async for addresses in super().watch():
            yield addresses


async def test_a_resolver_that_dies_is_started_again(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        async with ping.open(resolver=Stumbling(ping.servers[0].endpoint)) as channel:
            assert (await PingServiceStub(channel).Ping(PingRequest())).replica == "ping-1"
            restarts = {
                s.labels["task"]: s.value
                for family in channel.collect()
                for s in family.samples
                if s.name == "mesh_task_restarts_total"
            }
        assert restarts["resolver"] == 1


_STATE = "mesh_endpoint_state"


async def test_metrics_tell_of_endpoints_that_are_there_and_forget_the_others(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        for _ in range(4):
            await ping.stub.Ping(PingRequest())
        with pytest.raises(grpc.aio.AioRpcError):
            await ping.stub.Poke(PingRequest(fail_code="ABORTED"))
        samples = {
            (s.name, s.labels.get("endpoint"), s.labels.get("grpc_code") or s.labels.get("state")): s.value
            for family in ping.channel.collect()
            for s in family.samples
        }
        one, two = (s.endpoint for s in ping.servers)
        assert samples["mesh_endpoint_requests_total", one, "OK"] == 2
        assert samples["mesh_picks_total", one, None] + samples["mesh_picks_total", two, None] == 5
        assert samples["mesh_endpoint_in_flight", one, None] == 0
        states = {state: v for (name, at, state), v in samples.items() if (name, at) == (_STATE, one)}
        assert states == {"ready": 1, "connecting": 0, "unhealthy": 0, "failed": 0, "draining": 0}
        assert sum(v for (name, _, code), v in samples.items() if code == "Aborted") == 1
        assert samples["mesh_retries_total", None, None] == 0
        assert samples["mesh_endpoints_in_rotation", None, None] == 2
        assert samples["mesh_retry_budget_spent", None, None] == 0
        assert samples["mesh_retry_budget_allowed", None, None] == 100
        ping.resolve(ping.servers[1])
        await eventually(lambda: one not in ping.states())
        assert one not in {s.labels.get("endpoint") for f in ping.channel.collect() for s in f.samples}


async def test_readiness_of_the_channel_follows_its_endpoints(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        channel = ping.open()
        assert channel.get_state() is grpc.ChannelConnectivity.IDLE
        async with asyncio.timeout(60):
            await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await ping.servers[0].stop()
        async with asyncio.timeout(60):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await channel.close()
        assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
