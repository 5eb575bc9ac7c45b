"""Faults set through the FaultService, met by calls of all four kinds over real mutual TLS."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh import status
from grpcmesh.config import FaultConfig
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.fault_pb2_grpc import FaultServiceStub
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.callkit import invoke
from tests.integration.serverkit import BREAKABLE, Served, failure, serve, until
from tests.integration.test_server_drain import wait_for

KINDS = ["Ping", "Count", "Sum", "Echo"]
HOUR = 3600.0
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Breakable:
    """A server that may be broken, and the operator's stubs to it."""

    def __init__(self, served: Served, channel: grpc.aio.Channel) -> None:
        self.served, self.channel = served, channel
        self.ping, self.faults = PingServiceStub(channel), FaultServiceStub(channel)

    async def set(self, method: str = "*", delay: float = 0, lasts: float = 0, **fault: Any) -> None:
        request = pb.SetFaultRequest(fault=pb.Fault(method=method, **fault))
        request.fault.delay.FromNanoseconds(round(delay * 1e9))
        if lasts:
            request.lasts.FromNanoseconds(round(lasts * 1e9))
        await self.faults.SetFault(request)

    async def held(self, kind: str = "Ping") -> "asyncio.Task[Any]":
        """Make a call, wait until a fault holds it, and return its task."""
        before = self.metric("mesh_faults_held")
        task = asyncio.create_task(invoke(self.ping, kind))
        await until(lambda: self.metric("mesh_faults_held") > before)
        return task

    def metric(self, name: str, **labels: str) -> float:
        return self.served.metric(name, **labels)


@contextlib.asynccontextmanager
async def breakable(directory: Path, **drain: float) -> AsyncIterator[Breakable]:
    async with serve(directory, fault=FaultConfig(enabled=True), **drain) as served:
        served.write_policy(BREAKABLE)
        served.policy.load()
        async with served.channel() as channel:
            yield Breakable(served, channel)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_delay_is_added_to_calls_of_every_kind(tmp_path: Path, kind: str) -> None:
    async with breakable(tmp_path) as b:
        await b.set(f"mesh.testing.PingService/{kind}", delay=0.3)
        began = time.monotonic()
        call = asyncio.create_task(some(b.ping, kind))
        await call
        assert time.monotonic() - began >= 0.3
        assert b.metric("mesh_faults_injected_total", kind="delay") == 1
        assert b.metric("grpc_server_handled_total", grpc_method=kind, grpc_code="OK") == 1


async def some(stub: PingServiceStub, kind: str) -> Any:
    """Do as `invoke` does, but with a response stream that ends."""
    if kind != "Count":
        return await invoke(stub, kind)
    return [response async for response in stub.Count(PingRequest(count=2))]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_abort_is_what_the_caller_sees_whatever_the_kind(tmp_path: Path, kind: str) -> None:
    async with breakable(tmp_path) as b:
        await b.set(abort="DATA_LOSS")
        # Without requests in a stream: a write that fails as the call ends makes the status of bare grpc.aio
        # INTERNAL (grpc/grpc#36066). For the mesh's own client see test_early_status.
        error = await failure(invoke(b.ping, kind, count=0))
        assert (error.code(), "on purpose" in (error.details() or "")) == (grpc.StatusCode.DATA_LOSS, True)
        assert ("mesh-replica", "ping-1") in tuple(error.trailing_metadata())
        wire, info = status.from_wire(error.trailing_metadata()), error_details_pb2.ErrorInfo()
        assert wire is not None
        assert wire.details[0].Unpack(info)
        assert info.reason == "FAULT_INJECTED"
        assert b.served.servicer.calls[kind] == 0
        assert b.metric("mesh_faults_injected_total", kind="abort") == 1
        assert b.metric("grpc_server_handled_total", grpc_method=kind, grpc_code="DataLoss") == 1


async def test_a_share_of_the_calls_is_broken(tmp_path: Path) -> None:
    async with breakable(tmp_path) as b:
        await b.set(abort="UNAVAILABLE", share=0.5)
        calls = [wait_for(b.ping.Ping(PingRequest())) for _ in range(200)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        failed = sum(isinstance(answer, grpc.aio.AioRpcError) for answer in answers)
        assert 60 <= failed <= 140
        (active,) = (await b.faults.ListFaults(pb.ListFaultsRequest())).faults
        assert active.hits == failed
        assert active.set_by == "spiffe://cluster.local/ns/default/sa/client"


async def test_one_method_is_broken_and_the_others_are_not(tmp_path: Path) -> None:
    async with breakable(tmp_path) as b:
        await b.set("mesh.testing.PingService/Ping", abort="UNAVAILABLE")
        assert (await failure(b.ping.Ping(PingRequest()))).code() is UNAVAILABLE
        await b.ping.Poke(PingRequest())


async def test_a_sick_replica_says_that_it_is_well_and_can_be_mended(tmp_path: Path) -> None:
    async with breakable(tmp_path) as b:
        await b.set(abort="UNAVAILABLE")
        health: Any = health_pb2_grpc.HealthStub(b.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="mesh.testing.PingService"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        error = await failure(b.channel.unary_unary("/no.Such/Method")(b""))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert (await b.faults.ClearFaults(pb.ClearFaultsRequest())).cleared == 1
        await b.ping.Ping(PingRequest())
        assert b.served.server.services == {"mesh.testing.PingService"}


async def test_a_fault_ends_by_itself_and_lets_go_what_it_held(tmp_path: Path) -> None:
    async with breakable(tmp_path) as b:
        await b.set(delay=HOUR, lasts=0.4)
        await b.ping.Ping(PingRequest())
        await until(lambda: b.metric("mesh_faults_active") == 0)
        assert (await b.faults.ListFaults(pb.ListFaultsRequest())).faults == []


@pytest.mark.parametrize("kind", ["Ping", "Sum", "Echo"])
async def test_what_is_held_is_served_once_the_fault_is_cleared(tmp_path: Path, kind: str) -> None:
    async with breakable(tmp_path) as b:
        await b.set(delay=HOUR, abort="UNAVAILABLE")
        call = await b.held(kind)
        await b.faults.ClearFaults(pb.ClearFaultsRequest())
        await call
        assert b.served.servicer.calls[kind] == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hung_call_ends_at_its_deadline(tmp_path: Path, kind: str) -> None:
    async with breakable(tmp_path) as b:
        await b.set(delay=HOUR)
        stub = getattr(b.ping, kind)
        call = stub(PingRequest(), timeout=0.3) if kind in ("Ping", "Count") else stub(timeout=0.3)
        reading = call if kind in ("Ping", "Sum") else call.read()
        assert (await failure(reading)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: b.metric("mesh_faults_held") == 0)
        assert b.served.servicer.calls[kind] == 0


async def test_a_hung_call_that_its_caller_gives_up_is_held_no_longer(tmp_path: Path) -> None:
    async with breakable(tmp_path) as b:
        await b.set(delay=HOUR)
        (await b.held()).cancel()
        await until(lambda: b.metric("mesh_faults_held") == 0)
        assert b.metric("grpc_server_handled_total", grpc_method="Ping", grpc_code="Cancelled") == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_drain_sends_hung_calls_elsewhere_and_does_not_wait_for_them(
    tmp_path: Path, kind: str
) -> None:
    async with breakable(tmp_path, grace=30) as b:
        await b.set(delay=HOUR)
        error, _ = await asyncio.wait_for(
            asyncio.gather(failure(await b.held(kind)), b.served.server.drain()), 20
        )
        assert error.code() is UNAVAILABLE
        assert b.metric("mesh_faults_held") == 0


async def test_a_workload_that_may_not_is_refused_and_counted(tmp_path: Path) -> None:
    async with breakable(tmp_path) as b, b.served.channel(b.served.ca.issue("order")) as channel:
        stub = FaultServiceStub(channel)
        for call in (stub.ListFaults(pb.ListFaultsRequest()), stub.Crash(pb.CrashRequest())):
            assert (await failure(call)).code() is grpc.StatusCode.PERMISSION_DENIED
        assert b.metric("mesh_authz_denials_total", method="mesh.fault.v1.FaultService/Crash") == 1


async def test_a_request_that_makes_no_sense_names_the_fields(tmp_path: Path) -> None:
    async with breakable(tmp_path) as b:
        error = await failure(b.set("mesh.testing.PingService/Pong", share=2))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        wire, bad = status.from_wire(error.trailing_metadata()), error_details_pb2.BadRequest()
        assert wire is not None
        assert wire.details[0].Unpack(bad)
        assert {v.field for v in bad.field_violations} == {"fault.method", "fault.share", "fault"}
        assert "mesh.testing.PingService/Ping" in bad.field_violations[0].description


async def test_a_process_that_may_not_be_broken_does_not_have_the_service(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        error = await failure(FaultServiceStub(channel).Crash(pb.CrashRequest()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
