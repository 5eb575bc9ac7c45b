"""A channel on real DNS servers on loopback: its calls while DNS is slow, wrong, silent and back again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.client.channel import MeshChannel
from grpcmesh.target import TargetError
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests import ports
from tests.dnskit import NAME, SERVICE, DnsServer, config, dns_servers
from tests.integration.replicas import CONFIG, Cluster, eventually


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_servers() as [made]:
        yield made


@pytest.fixture
async def replica() -> AsyncIterator[PingServer]:
    async with PingServer(None) as made:
        yield made


def publish(server: DnsServer, *ports: int) -> None:
    server.additional = [(f"host.{NAME}", "A", ["127.0.0.1"])]
    server.records = {(SERVICE, "SRV"): [f"0 0 {port} host.{NAME}" for port in ports]}


def open_channel(*servers: DnsServer, target: str = "ping", **changes: Any) -> MeshChannel:
    settings = replace(CONFIG, resolver=config(*servers, **{"kind": "srv", **changes}))
    return MeshChannel(target, settings, identity=None)


async def test_a_channel_follows_dns(server: DnsServer, tmp_path: Path) -> None:
    ping = Cluster(tmp_path, replace(CONFIG, resolver=config(server, kind="srv", timeout=0.5)))
    channel = ping.open(resolver=None)
    stub = PingServiceStub(channel)
    call = stub.Ping(PingRequest())
    await eventually(lambda: server.asked)
    one, two = await ping.add(), await ping.add()
    publish(server, one.port)
    assert (await call).replica == "ping-1"
    publish(server, one.port, two.port)
    await eventually(lambda: len(channel.state()["endpoints"]) == 2)
    server.silent = True
    await one.stop()
    await eventually(lambda: "failed" in {e["state"] for e in channel.state()["endpoints"]})
    assert {(await stub.Ping(PingRequest())).replica for _ in range(4)} == {"ping-2"}
    await eventually(lambda: channel.state()["resolver_error"])
    server.silent = False
    publish(server, two.port)
    await eventually(lambda: len(channel.state()["endpoints"]) == 1)
    names = {s.name for f in channel.collect() for s in f.samples}
    assert {"mesh_dns_lookups_total", "mesh_dns_queries_total", "mesh_resolver_endpoints"} <= names
    await channel.close()
    await two.stop()


async def test_a_call_waits_while_its_deadline_allows_for_dns_to_answer(
    server: DnsServer, replica: PingServer
) -> None:
    """The first look-ups time out, but the call's deadline allows for another."""
    publish(server, replica.port)
    server.silent = True
    channel = open_channel(server, timeout=0.3)
    call = PingServiceStub(channel).Ping(PingRequest(), timeout=20)
    await eventually(lambda: len(server.asked) > 4)
    server.silent = False
    assert (await call).replica == "ping-1"
    await channel.close()


async def test_a_lost_datagram_is_no_more_than_a_short_wait(server: DnsServer, replica: PingServer) -> None:
    """The first query is lost. The next look-up would come too late for this call."""
    publish(server, replica.port)
    server.lose = 1
    channel = open_channel(server, timeout=2.0, min_interval=30.0)
    assert (await PingServiceStub(channel).Ping(PingRequest(), timeout=15)).replica == "ping-1"
    await channel.close()


async def test_a_dead_nameserver_before_a_good_one_costs_a_short_wait(replica: PingServer) -> None:
    async with dns_servers(2) as [dead, good]:
        publish(good, replica.port)
        dead.silent = dead.silent_tcp = True
        channel = open_channel(dead, good, timeout=30.0)
        assert (await PingServiceStub(channel).Ping(PingRequest(), timeout=15)).replica == "ping-1"
        await channel.close()


@pytest.mark.parametrize("what", ["silence", "SERVFAIL", "garbage", "NXDOMAIN"])
async def test_a_call_without_endpoints_ends_with_its_deadline_and_says_why(
    server: DnsServer, what: str
) -> None:
    if what == "silence":
        server.silent = server.silent_tcp = True
    elif what == "garbage":
        server.script = lambda query, tcp, answer: [b"\xff" * 100]
    elif what == "SERVFAIL":
        server.rcodes = {(SERVICE, "SRV"): what}
    channel = open_channel(server, timeout=0.3, try_interval=0.1)
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await PingServiceStub(channel).Ping(PingRequest(), timeout=1.5)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    told = {"silence": "did not answer", "garbage": "did not answer", "NXDOMAIN": "nxdomain"}.get(what, what)
    assert told in str(e.value.details())
    await channel.close()


@pytest.mark.parametrize("what", ["silence", "SERVFAIL", "garbage", "NXDOMAIN", "empty", "truncated"])
async def test_a_set_that_works_stays_while_dns_is_in_trouble(
    server: DnsServer, replica: PingServer, what: str
) -> None:
    publish(server, replica.port)
    channel = open_channel(server, timeout=0.3, try_interval=0.1)
    stub = PingServiceStub(channel)
    await stub.Ping(PingRequest(), timeout=15)
    if what == "silence":
        server.silent = server.silent_tcp = True
    elif what == "garbage":
        server.script = lambda query, tcp, answer: [b"\xff" * 100]
    elif what == "truncated":
        server.truncate = server.silent_tcp = True
    elif what == "SERVFAIL":
        server.rcodes = {(SERVICE, "SRV"): what}
    else:
        server.records = {} if what == "NXDOMAIN" else {(SERVICE, "TXT"): ['"x"']}
    await eventually(lambda: channel.state()["resolver_error"], within=15)
    for _ in range(5):
        assert (await stub.Ping(PingRequest(), timeout=15)).replica == "ping-1"
    server.silent = server.silent_tcp = server.truncate = False
    server.script, server.rcodes = None, {}
    publish(server, replica.port)
    await eventually(lambda: not channel.state()["resolver_error"], within=15)
    await channel.close()


async def test_a_target_may_be_a_full_name_with_a_port(server: DnsServer, replica: PingServer) -> None:
    server.hosts("127.0.0.1", name="ping.elsewhere.example.")
    server.hosts("127.0.0.1", name="ping.other.svc.cluster.local.")
    for target in (f"ping.elsewhere.example:{replica.port}", f"ping.other:{replica.port}"):
        channel = open_channel(server, target=target)
        assert (await PingServiceStub(channel).Ping(PingRequest(), timeout=15)).replica == "ping-1"
        await channel.close()


def test_a_target_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(TargetError, match="'pi ng'"):
        MeshChannel("pi ng", CONFIG, identity=None)


async def test_an_endpoint_that_fails_is_asked_for_at_once(server: DnsServer) -> None:
    """A replacement is found without waiting for the end of the long TTL."""
    server.ttl = 3600
    async with PingServer(None, "ping-2") as two:
        one = PingServer(None, address=ports.address())
        await one.start()
        publish(server, one.port)
        channel = open_channel(server, max_interval=3600.0)
        stub = PingServiceStub(channel)
        await stub.Ping(PingRequest(), timeout=15)
        publish(server, two.port)
        await one.stop()
        async with asyncio.timeout(15):
            while (await stub.Ping(PingRequest(), timeout=15, wait_for_ready=True)).replica != "ping-2":
                pass
        await channel.close()
