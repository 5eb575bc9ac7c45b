"""Runs the probes side by side, within a time, and collects their facts."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grpcmesh.authz.policy import Policy
from grpcmesh.call import Workload
from grpcmesh.clock import Clock
from grpcmesh.commands.doctor import facts, names, providers
from grpcmesh.commands.doctor.answers import Asker, Caller
from grpcmesh.commands.doctor.certificate import own_certificate
from grpcmesh.commands.doctor.endpoints import examine
from grpcmesh.commands.doctor.process import NotReadableError, exporter, policy, process
from grpcmesh.config import MeshConfig
from grpcmesh.extras import missing
from grpcmesh.identity import Material, server_identity

#: The most endpoints of a target that are looked at.
MAX_ENDPOINTS = 16


@dataclass(frozen=True, slots=True)
class Request:
    """What to look at.

    Args:
        config: Settings of the workload.
        targets: The targets that it calls.
        methods: Full names of methods of these targets that it must be allowed to call. A method is asked of
            all targets, or only of that before an equals sign: `product=ecommerce.ProductService/GetProduct`.
        serves: Whether it is also a server.
        timeout: Seconds that the network may take in all.
    """

    config: MeshConfig
    targets: Sequence[str] = ()
    methods: Sequence[str] = ()
    serves: bool = True
    timeout: float = 5.0

    @property
    def step(self) -> float:
        """Return the seconds that one step, such as a connection or a call, may take."""
        return self.timeout / 5

    def methods_of(self, target: str) -> tuple[str, ...]:
        """Return the methods that are asked of a target."""
        named = [method.rpartition("=") for method in self.methods]
        return tuple(dict.fromkeys(method for only, _, method in named if only in ("", target)))


class Examination:
    """Collects the facts about one workload.

    Args:
        request: What to look at.
        environ: May hold OTEL_EXPORTER_OTLP_ENDPOINT, and the cluster IPs that Kubernetes names.
        clock: Returns unix seconds.
    """

    def __init__(
        self, request: Request, environ: Mapping[str, str] = os.environ, clock: Clock = time.time
    ) -> None:
        self._request, self._environ, self._clock = request, environ, clock
        self._asker = Asker(clock)
        self._unfinished: list[str] = []
        self._skipped: list[str] = []

    async def collect(self) -> facts.Facts:
        """Look at everything. Raises TargetError for a target that no server could prove to be."""
        config, now = self._request.config, self._clock()
        own: facts.OwnCertificate | None = None
        files: Material | None = None
        if not config.plaintext:
            own, files = await own_certificate(
                config, now, serves=self._request.serves, timeout=self._request.step
            )
        callers = {
            target: Caller(
                config,
                files,
                server_identity(config, target),
                self._request.methods_of(target),
                self._request.step,
            )
            for target in self._request.targets
        }
        rules, problem = policy(config.authz)
        if callers and own and files is None:
            self._skipped.append("handshakes and health of targets: there is no certificate")
        targets, own_process, exported, keys = await asyncio.gather(
            asyncio.gather(*(self._target(target, caller) for target, caller in callers.items())),
            self._process(rules, own.workload if own else ""),
            self._exporter(),
            self._keys(),
        )
        found = tuple(target for target in targets if target is not None)
        return facts.Facts(
            now,
            own,
            found,
            own_process,
            problem,
            exported,
            tuple(self._unfinished),
            {target: caller.methods for target, caller in callers.items()},
            tuple(self._skipped),
            keys,
        )

    async def _target(self, target: str, caller: Caller) -> facts.Target | None:
        try:
            async with asyncio.timeout(self._request.timeout):
                return await self._examined(target, caller)
        except TimeoutError:
            self._unfinished.append(target)
            return None

    async def _examined(self, target: str, caller: Caller) -> facts.Target:
        config = caller.config
        timeout = min(config.resolver.timeout, self._request.timeout / 2)
        lookup, addresses = await names.look_up(
            config.resolver, config.target(target), timeout, self._environ
        )
        looked_at, left_out = addresses[:MAX_ENDPOINTS], len(addresses[MAX_ENDPOINTS:])
        if left_out:
            self._skipped.append(
                f"{target}: {left_out} of {len(addresses)} endpoints; {MAX_ENDPOINTS} are looked at"
            )
        endpoints = await asyncio.gather(*(examine(a, caller, self._asker) for a in looked_at))
        return facts.Target(target, lookup, tuple(endpoints), left_out)

    async def _process(self, rules: Policy, own: str) -> facts.Process | None:
        config = self._request.config
        named = str(Workload(config.identity.trust_domain, config.namespace, config.service))
        workload = own if config.identity.spiffe_id else named
        try:
            return await process(
                config.admin, "" if config.plaintext else workload, rules, self._request.step
            )
        except NotReadableError as e:
            self._skipped.append(f"the process of this workload, by its metrics: {e}")
            return None

    async def _keys(self) -> tuple[facts.KeyProblem, ...]:
        try:
            return await providers.keys(self._request.config.auth, self._request.timeout / 2)
        except ModuleNotFoundError as e:
            self._skipped.append(missing("keys of identity providers", "jwt", e))
            return ()

    async def _exporter(self) -> tuple[str, str] | None:
        config = self._request.config.telemetry
        endpoint = config.otlp_endpoint or self._environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        problem = await exporter(endpoint, self._request.step) if endpoint else ""
        return (endpoint, problem) if problem else None
