"""Servers and channels without certificates, of the mesh and of bare grpc.aio: for Connect's suite."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from grpcmesh.authz import AuthzLayer, PolicyStore
from grpcmesh.authz.policy import Policy, UserRule
from grpcmesh.call import Method
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AuthzConfig, HealthConfig, MeshConfig, ServerConfig, TelemetryConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityLayer
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.telemetry import Telemetry


class AnyUser(Policy):
    """A policy that requires a user for no call."""

    def user_rule(self, method: Method) -> UserRule:
        return UserRule(optional=True)


async def serve_mesh(add: Callable[[Any], None], message_limit: int) -> tuple[Any, int]:
    """Start a MeshServer; return it with its port.

    Every layer runs but those of identity and authorization: a plaintext connection proves nothing.
    """
    port = ServerConfig(max_receive_message=message_limit or 4 << 20)
    config = MeshConfig(
        "conformance", address="127.0.0.1:0", server=port, telemetry=TelemetryConfig(access_log="off")
    )
    policy = PolicyStore(AuthzConfig())
    policy.current = AnyUser()
    layers = server_layers(config, Telemetry(config), policy, None)
    layers = [layer for layer in layers if not isinstance(layer, (AuthzLayer, IdentityLayer))]
    server = MeshServer(config, identity=None, layers=layers, health=HealthServicer())
    add(server)
    await server.start()
    return server, server.port


async def serve_bare(add: Callable[[Any], None], message_limit: int) -> tuple[Any, int]:
    """Start a plain grpc.aio server, and return it with its port."""
    options = [("grpc.max_receive_message_length", message_limit or 4 << 20)]
    server = grpc.aio.server(options=options)
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def mesh_channel(address: str, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
    config = MeshConfig("client", health=HealthConfig(watch=False))
    resolver = StaticResolver([address])
    telemetry = Telemetry(config)
    return MeshChannel(
        "conformance", config, identity=None, resolver=resolver, options=options, telemetry=telemetry
    )


def bare_channel(address: str, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=options)
