"""The checks that `helm test` runs inside the cluster: `python -m meshmart.smoke calls|refusals|order`.

The process is the operator's workload, as `MESH_*` says; the outsider's certificate is beside its own.
"""

import asyncio
import os
import secrets
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
from ecommerce import order_pb2, product_pb2, user_pb2
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from grpcmesh.ca import CertificateAuthority
from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.identity import IdentityError
from grpcmesh.member import Member
from local.words import plural
from services.loadgen.session import login
from services.loadgen.shop import order_request

#: The timeout of a call, and of an order until it is confirmed, in seconds.
TIMEOUT = 20.0
_POLL = 0.2
_PATH = "/ecommerce.ProductService/GetProduct"
_Code = grpc.StatusCode


class CheckError(Exception):
    """A check of the shop failed. The message is one line."""


async def calls(member: Member) -> str:
    """Check that a read and a stream of several messages succeed."""
    stub: Any = ProductServiceStub(member.channel("product"))
    found = [p async for p in stub.ListProducts(product_pb2.ListProductsRequest(), timeout=TIMEOUT)]
    if not found:
        raise CheckError("the catalogue is empty: have the migrations run?")
    response = await stub.GetProduct(product_pb2.GetProductRequest(id=found[0].id), timeout=TIMEOUT)
    return f"{plural(len(found), 'product')}, the first is {response.product.name!r}"


async def refusals(member: Member) -> str:
    """Check that the same call is refused without a certificate, with a foreign one, and by a workload that
    may not make it.
    """
    await calls(member)  # otherwise a service that is down would seem to refuse
    own = member.config.identity
    ca = (own.bundle or own.directory / "ca.crt").read_bytes()
    outsider = own.directory.with_name("outsider")
    foreign = CertificateAuthority(own.trust_domain, member.config.namespace).issue("client")
    attempts: list[tuple[str, _Code, tuple[bytes, ...]]] = [
        ("no certificate", _Code.UNAVAILABLE, ()),
        ("a certificate of a foreign CA", _Code.UNAVAILABLE, (foreign.tls_key, foreign.tls_crt)),
        ("a workload that may not", _Code.PERMISSION_DENIED, _pair(outsider)),
    ]
    for who, expected, pair in attempts:
        code = await _code(member.config, grpc.ssl_channel_credentials(ca, *pair))
        if code is not expected:
            raise CheckError(f"{who}: {code.name} instead of {expected.name}")
    return ", ".join(f"{who}: {expected.name}" for who, expected, _ in attempts)


async def order(member: Member) -> str:
    """Place an order and wait until it is confirmed.

    The buyer is SMOKE_USER or, if that is not set, a user that is registered for it and deleted afterwards.
    """
    user, password = os.environ.get("SMOKE_USER", ""), os.environ.get("SMOKE_PASSWORD", "")
    if user:
        return await _order(member, await login(member.channel, user, password))
    name, password = f"smoke-{uuid.uuid4().hex}", secrets.token_urlsafe(16)
    users: Any = UserServiceStub(member.channel("user"))
    request = user_pb2.CreateUserRequest(name=name, email=f"{name}@example.com", password=password)
    await users.CreateUser(request, timeout=TIMEOUT)
    session = await login(member.channel, name, password)
    try:
        return await _order(member, session)
    finally:
        metadata = (("authorization", f"Bearer {session.access_token}"),)
        leave = user_pb2.DeleteUserRequest(id=session.user.id)
        await users.DeleteUser(leave, metadata=metadata, timeout=TIMEOUT)


async def _order(member: Member, session: user_pb2.LoginResponse) -> str:
    started = time.monotonic()
    metadata = (("authorization", f"Bearer {session.access_token}"),)
    stub: Any = OrderServiceStub(member.channel("order"))
    request = order_request(session.user.id, [(1, 1)], uuid.uuid4().hex)
    made = (await stub.CreateOrder(request, metadata=metadata, timeout=TIMEOUT)).order
    while made.status == order_pb2.ORDER_STATUS_PENDING and time.monotonic() - started < TIMEOUT:
        await asyncio.sleep(_POLL)
        answer = await stub.GetOrder(order_pb2.GetOrderRequest(id=made.id), metadata=metadata)
        made = answer.order
    if made.status != order_pb2.ORDER_STATUS_CONFIRMED:
        raise CheckError(f"order {made.id} is {order_pb2.OrderStatus.Name(made.status)}")
    took = time.monotonic() - started
    return f"order {made.id} of {session.user.name}, {made.total_amount:.2f}: confirmed in {took:.2f} s"


CHECKS: Mapping[str, Callable[[Member], Awaitable[str]]] = {
    "calls": calls,
    "refusals": refusals,
    "order": order,
}


def _pair(directory: Path) -> tuple[bytes, bytes]:
    return (directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes()


async def _code(config: MeshConfig, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """Return the status of one empty call to the product service with these credentials."""
    name = config.dns_name("product")
    options = [("grpc.ssl_target_name_override", name.rstrip(".")), ("grpc.enable_http_proxy", 0)]
    target = f"dns:///{name}:{config.resolver.port}"
    async with grpc.aio.secure_channel(target, credentials, options) as channel:
        try:
            await channel.unary_unary(_PATH, bytes, bytes)(b"", timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            return e.code()
        return grpc.StatusCode.OK


async def _check(name: str, config: MeshConfig) -> str:
    async with Member(config, sockets=False) as member:
        return await CHECKS[name](member)


def main(arguments: list[str]) -> int:
    """Return the exit status: 0, 1 if the check fails, 2 for a wrong argument or setting."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        return _fail(2, f"one argument is needed: {', '.join(CHECKS)}")
    try:
        told = asyncio.run(_check(arguments[0], MeshConfig.from_env(os.environ, service="client")))
    except (ConfigError, KeyError) as e:
        return _fail(2, str(e))
    except grpc.aio.AioRpcError as e:
        return _fail(1, f"{e.code().name}: {e.details()}")
    except (CheckError, IdentityError, OSError) as e:
        return _fail(1, str(e))
    sys.stdout.write(f"{arguments[0]}: {told}\n")
    return 0


def _fail(status: int, problem: str) -> int:
    sys.stderr.write(f"smoke: {problem}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
