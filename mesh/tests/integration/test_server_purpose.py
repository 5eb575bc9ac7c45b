"""Exemption depends on a call's handler, never on its path. The policy here denies everything."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh.call import Purpose, ServerCall, ServerLayer
from grpcmesh.config import FaultConfig
from tests.integration import rawh2
from tests.integration.serverkit import Served, failure

DENY = "[users]\n"


class CatchAll(grpc.GenericRpcHandler):
    """A generic handler that serves every path and records it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method

        async def answer(request: bytes, context: Any) -> bytes:
            self.reached.append(path)
            return b"reached"

        return grpc.unary_unary_rpc_method_handler(answer)


class Noting(ServerLayer):
    """A layer that records the purpose of each call."""

    def __init__(self) -> None:
        self.seen: list[Purpose] = []

    def on_start(self, call: ServerCall) -> None:
        self.seen.append(call.purpose)


async def start(directory: Path, policy: str = DENY, fault: bool = False) -> Served:
    served = Served(directory, fault=FaultConfig(enabled=fault))
    served.write_policy(policy)
    served.policy.load()
    return served


PATHS = [
    "/grpc.health.v1.Health/Dump", "/grpc.reflection.v1.ServerReflection/X", "/grpc.channelz.v1.Channelz/X",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/unknown/x", "/unknown/unknown",
    "/mesh.fault.v1.FaultService/SetFault", "/mesh.fault.v1.FaultService/X", "/mesh.testing.PingService/Ping",
    "//grpc.health.v1.Health/Check", "/grpc.health.v1.Health//Check", "/grpc.health.v1.Health/Check/", "//x",
    "/grpc.health.v1.Health/check", "/ grpc.health.v1.Health/Check", "/x/grpc.health.v1.Health/Check",
    "x", "/", "//", "", "/x", "x/y", "/grpc.health.v1.Health/", "grpc.health.v1.Health/Check",
]  # fmt: skip


async def test_no_path_reaches_a_catch_all_handler_past_the_policy(tmp_path: Path) -> None:
    served, catch_all = await start(tmp_path), CatchAll()
    served.server.add_generic_rpc_handlers([catch_all])
    await served.server.start()
    try:
        async with asyncio.timeout(30), served.channel() as channel:
            for path in PATHS:
                if path.startswith("/"):
                    error = await failure(channel.unary_unary(path)(b""))
                    assert error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)
                context = rawh2.tls(served.ca.issue("client"))
                async with rawh2.connect(served.endpoint, context) as raw:
                    await raw.answer(await raw.request(rawh2.headers(path.encode())))
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest())  # the mesh's own goes on passing by the policy
        assert catch_all.reached == []
    finally:
        await served.server.stop(0)


async def test_a_catch_all_handler_serves_what_the_policy_allows(tmp_path: Path) -> None:
    policy = OPEN.replace('"a.B/*"]', '"a.B/*", "unknown/*"]') + '"unknown/*" = "anyone"\n'
    served, catch_all = await start(tmp_path, policy), CatchAll()
    served.server.add_generic_rpc_handlers([catch_all])
    await served.server.start()
    try:
        async with served.channel() as channel:
            for path in ("/a.B/C", "/unknown/x"):
                assert await channel.unary_unary(path)(b"") == b"reached"
            error = await failure(channel.unary_unary("/a.C/B")(b""))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert catch_all.reached == ["/a.B/C", "/unknown/x"]
    finally:
        await served.server.stop(0)


@pytest.mark.parametrize(
    "service", ["grpc.health.v1.Health", "grpc.channelz.v1.Channelz", "mesh.fault.v1.FaultService", "unknown"]
)
async def test_a_servicer_with_the_name_of_one_of_the_meshs_own_is_not_exempt(
    tmp_path: Path, service: str
) -> None:
    async def dump(request: bytes, context: Any) -> bytes:
        raise AssertionError("reached")

    served, noting = await start(tmp_path), Noting()
    served.server.layers.insert(0, noting)
    handlers: Any = {"Dump": grpc.unary_unary_rpc_method_handler(dump)}
    served.server.add_registered_method_handlers(service, handlers)
    await served.server.start()
    try:
        async with served.channel() as channel:
            error = await failure(channel.unary_unary(f"/{service}/Dump")(b""))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest())
        assert noting.seen == [Purpose.APPLICATION, Purpose.MESH]
    finally:
        await served.server.stop(0)


async def test_what_steers_the_process_is_authorized_and_what_is_unknown_is_not(tmp_path: Path) -> None:
    served, noting = await start(tmp_path, fault=True), Noting()
    served.server.layers.insert(0, noting)
    await served.server.start()
    try:
        async with served.channel() as channel:
            paths = ("/mesh.fault.v1.FaultService/ListFaults", "/no.Such/Method")
            codes = [(await failure(channel.unary_unary(path)(b""))).code() for path in paths]
        assert codes == [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED]
        assert noting.seen == [Purpose.CONTROL, Purpose.UNKNOWN]
    finally:
        await served.server.stop(0)


class Interceptor(grpc.aio.ServerInterceptor):
    """An interceptor that records its calls, and returns the continuation's handler or its own."""

    def __init__(self, name: str, notes: list[str], handler: Any = "the continuation's") -> None:
        self.name, self.notes, self.handler = name, notes, handler

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        self.notes.append(f"{self.name} {handler_call_details.method}")
        if self.handler == "the continuation's":
            return await continuation(handler_call_details)
        return self.handler


async def answer_early(request: Any, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.DATA_LOSS, "early")
    return b""


OPEN = """
[[allow]]
from = ["client"]
methods = ["a.B/*"]
[users]
"a.B/*" = "anyone"
"""


def echo() -> Any:
    """Return the handlers of a service with methods of all four kinds and its own message type."""

    async def uu(request: str, context: Any) -> str:
        return request

    async def us(request: str, context: Any) -> Any:
        for letter in request:
            yield letter

    async def su(requests: Any, context: Any) -> str:
        return "".join([r async for r in requests])

    async def ss(requests: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(request)

    codec = {"request_deserializer": bytes.decode, "response_serializer": str.encode}
    return {
        "uu": grpc.unary_unary_rpc_method_handler(uu, **codec),
        "us": grpc.unary_stream_rpc_method_handler(us, **codec),
        "su": grpc.stream_unary_rpc_method_handler(su, **codec),
        "ss": grpc.stream_stream_rpc_method_handler(ss, **codec),
    }


async def call_all(channel: grpc.aio.Channel) -> list[Any]:
    async def letters() -> Any:
        for letter in (b"a", b"b"):
            yield letter

    async def collect(call: Any) -> Any:
        try:
            return [r async for r in call]
        except grpc.aio.AioRpcError as e:
            return e.code().name

    async def one(call: Any) -> Any:
        try:
            return await call
        except grpc.aio.AioRpcError as e:
            return e.code().name

    return [
        await one(channel.unary_unary("/a.B/uu")(b"ab")),
        await collect(channel.unary_stream("/a.B/us")(b"ab")),
        await one(channel.stream_unary("/a.B/su")(letters())),
        await collect(channel.stream_stream("/a.B/ss")(letters())),
    ]


async def intercept(directory: Path, interceptors: Iterable[Any], policy: str = OPEN) -> list[Any]:
    served = await start(directory, policy)
    served.server.interceptors.extend(interceptors)
    served.server.add_registered_method_handlers("a.B", echo())
    await served.server.start()
    try:
        async with asyncio.timeout(30), served.channel() as channel:
            return await call_all(channel)
    finally:
        await served.server.stop(0)


def generates(request: Any, context: Any) -> Iterator[bytes]:
    yield b"more than one response"


async def test_interceptors_of_grpc_run_around_all_four_kinds_in_their_order(tmp_path: Path) -> None:
    notes: list[str] = []
    got = await intercept(tmp_path, [Interceptor("first", notes), Interceptor("second", notes)])
    assert got == [b"ab", [b"a", b"b"], b"ab", [b"a", b"b"]]
    assert notes[:2] == ["first /a.B/uu", "second /a.B/uu"]
    assert len(notes) == 8


async def test_interceptors_run_after_authorization(tmp_path: Path) -> None:
    notes: list[str] = []
    assert await intercept(tmp_path, [Interceptor("first", notes)], DENY) == ["PERMISSION_DENIED"] * 4
    assert notes == []


@pytest.mark.parametrize(
    ("handler", "answers"),
    [
        (grpc.unary_unary_rpc_method_handler(answer_early), ["DATA_LOSS"] * 4),  # type: ignore[arg-type]
        (grpc.stream_unary_rpc_method_handler(answer_early), ["DATA_LOSS"] * 4),  # type: ignore[arg-type]
        (grpc.unary_unary_rpc_method_handler(lambda request, context: b"x"), [b"x", [b"x"]] * 2),
        (grpc.unary_unary_rpc_method_handler(generates), ["INTERNAL"] * 4),  # type: ignore[arg-type]
        (None, ["UNIMPLEMENTED"] * 4),
        ("nonsense", ["INTERNAL"] * 4),
    ],
)
async def test_an_interceptor_may_answer_itself_whatever_the_kind_of_call(
    tmp_path: Path, handler: Any, answers: list[Any]
) -> None:
    assert await intercept(tmp_path, [Interceptor("first", [], handler)]) == answers


async def test_an_interceptor_that_raises_is_internal(tmp_path: Path) -> None:
    class Raising(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            raise KeyError("a secret")

    assert await intercept(tmp_path, [Raising()]) == ["INTERNAL"] * 4
