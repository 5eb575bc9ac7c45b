"""The server side of a process: its mesh port, its health port, and what calls are checked against."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from grpcmesh.authz import PolicyStore
from grpcmesh.call import ServerLayer, Workload
from grpcmesh.config import ConfigError, HealthConfig
from grpcmesh.extras import missing
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.member import Member
from grpcmesh.server.ports import HealthPort, StartError
from grpcmesh.server.server import MeshServer, server_layers

if TYPE_CHECKING:
    from grpcmesh.auth import KeySource, TokenVerifier


class ServerSide:
    """The mesh server of a process, with the policy, the verifier of tokens and the health port.

    Args:
        member: The process's membership, which has been entered.
        layers: The application's own layers.
        interceptors: Interceptors of grpc.aio, outermost first.

    Raises:
        PolicyError: The policy file is wrong.
        IdentityError: The certificate is not good for a server.
    """

    def __init__(
        self,
        member: Member,
        layers: Sequence[ServerLayer] = (),
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        config = self._config = member.config
        self._member, self._admission = member, config.admission
        self._started, self._stopped = False, False
        self._told_health: dict[str, bool] = {}  # by the application; what it says nothing of serves
        self.policy = PolicyStore(config.authz)
        self.policy.load()
        if member.identity is not None:
            member.identity.require_server()
        limits = config.health
        self.health = HealthServicer(limits.max_watchers, limits.max_watchers_per_peer, config.zone)
        self._no_tokens: ModuleNotFoundError | None = None
        self.verifier = self._token_verifier()
        self.layers = list(layers)
        self.server = MeshServer(
            config,
            identity=member.identity,
            layers=(),  # known when it starts
            health=self.health,
            interceptors=interceptors,
        )
        self._health_port = HealthPort(limits, self.health) if limits.address else None
        member.states["server"] = self.state

    def prioritize(self, priorities: Mapping[str, str]) -> None:
        """Set the priorities of methods. Those of the settings override them. See `App.prioritize`."""
        admission = self._config.admission
        merged = {**priorities, **admission.priorities}
        self._admission = dataclasses.replace(admission, priorities=merged)

    def use_keys(self, source: "KeySource") -> None:
        """Set the source of the keys that verify user tokens. Without it, every token is refused.

        Raises:
            ConfigError: PyJWT is not installed, or MESH_AUTH_ISSUER or MESH_AUTH_AUDIENCE is not set.
        """
        if self.verifier is None:
            assert self._no_tokens is not None
            raise ConfigError([missing("tokens of users cannot be verified", "jwt", self._no_tokens)])
        self.verifier.source = source

    async def start(self) -> None:
        """Fetch the keys, listen, and report SERVING.

        Raises:
            StartError: A port cannot be listened on.
        """
        member, server = self._member, self.server
        config = dataclasses.replace(self._config, admission=self._admission)
        server.layers = server_layers(
            config, member.telemetry, self.policy, self.verifier, member.identity, self.layers
        )
        for source in (self.policy, server):
            member.telemetry.add(source)
        member.telemetry.declare(server.methods())
        member.tasks.supervise(self.policy.watch, "policy")
        await self._follow_keys()
        if server.services:
            await server.start()
            member.spawn(server.accept_loop_ended(), "accept loop of the mesh port")
        if self._health_port is not None:
            await self._open_health_port(self._health_port)
        self._started = True
        for service in self.health.statuses():
            self.health.set(service, self._told_health.get(service, True))

    def set_health(self, service: str, serving: bool) -> None:
        """Set the health of a service. See `Mesh.set_health`."""
        if service and service not in self.server.services:
            added = ", ".join(sorted(self.server.services)) or "none"
            raise ValueError(f"{service!r} is not a service of this server, which has {added}")
        self._told_health[service] = serving
        if self._started:
            self.health.set(service, serving)

    async def stop(self, drain: bool = True) -> None:
        """Close the ports, after a drain if `drain`. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        if drain:
            await self.server.drain()
        await self.server.stop(0)
        if self._health_port is not None:
            await self._health_port.stop()

    def state(self) -> Mapping[str, Any]:
        """Return the state that the admin page shows, as values that JSON can encode."""
        return {
            "health": self.health.statuses(),
            "draining": self.server.draining,
            "policy_generation": self.policy.generation,
            **self.server.state(),
        }

    async def _open_health_port(self, port: HealthPort) -> None:
        try:
            await port.start()
        except StartError as e:
            if self._config.health.address != HealthConfig.address:
                raise
            # Several servers on one machine, and nobody has asked for this address.
            reason = str(e)
            self._member.telemetry.log.warning(
                "the health port is not opened; set MESH_HEALTH_ADDRESS", reason=reason
            )
            self._health_port = None
            return
        self._member.telemetry.add(port)
        self._member.spawn(port.accept_loop_ended(), "accept loop of the health port")

    async def _follow_keys(self) -> None:
        verifier = self.verifier
        if verifier is None:
            return
        self._member.telemetry.add(verifier)
        if verifier.accepts_tokens:
            await verifier.start(self._config.auth.keys_timeout)
            self._member.tasks.supervise(verifier.watch, "keys")

    def _token_verifier(self) -> "TokenVerifier | None":
        own = Workload(self._config.identity.trust_domain, self._config.namespace, self._config.service)
        identity, auth = self._member.identity, self._config.auth
        try:
            from grpcmesh.auth.verifier import TokenVerifier

            return TokenVerifier(auth, own=str(identity.current.workload if identity else own))
        except ModuleNotFoundError as e:
            self._no_tokens = e
            if auth.issuers:
                raise ConfigError([missing("MESH_AUTH_ISSUERS", "jwt", e)]) from e
            return None
