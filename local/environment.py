"""The environment of a replica's process: what a pod's manifest would say."""

from collections.abc import Mapping
from dataclasses import dataclass

from grpcmesh.grpc_environment import CIPHER_SUITES, FORK_SUPPORT, TLS13_ONLY
from local.addresses import Place
from local.catalog import OPERATOR, ServiceSpec
from local.state import StateDir

# Enough that a visitor's few clicks leave a trace, little enough that a load test does not fill the store.
_SAMPLE_RATIO = "0.05"


@dataclass(frozen=True)
class Surroundings:
    """What all replicas share."""

    state: StateDir
    base: Mapping[str, str]
    """The supervisor's own environment: the user's MESH_* pass through where nothing here says otherwise."""
    nameserver: str
    """`127.0.0.1:PORT`."""
    resolver_kind: str
    otlp: str
    """OTLP endpoint; empty: none."""
    traces: str
    """Address of the trace pages; empty: none."""

    def replica(self, spec: ServiceSpec, number: int, place: Place) -> dict[str, str]:
        """All variables of one replica's process."""
        return {
            "MESH_TELEMETRY_SAMPLE_RATIO": _SAMPLE_RATIO,
            # Here everything may be broken on purpose: that is what it is for.
            "MESH_FAULT_ENABLED": "true",
            **self._shared(),
            "MESH_SERVICE": spec.name,
            "MESH_REPLICA": f"{spec.name}-{number}",
            **self._zone(number),
            "MESH_ADDRESS": place.at(place.mesh),
            "MESH_HEALTH_ADDRESS": place.at(place.health),
            "MESH_ADMIN_ADDRESS": place.at(place.admin),
            "MESH_RESOLVER_NAMESERVER": self.nameserver,
            "MESH_RESOLVER_KIND": self.resolver_kind,
            "MESH_IDENTITY_DIRECTORY": str(self.state.certs / spec.name),
            "MESH_AUTHZ_POLICY_FILE": str(self.state.policy),
            **(self._web(place) if spec.web else {}),
            **{k: v.replace("{state}", str(self.state.path)) for k, v in spec.environment.items()},
        }

    def _zone(self, number: int) -> dict[str, str]:
        """`MESHMART_ZONES=a,b`: replica 1 of each service is in a, 2 in b, 3 in a."""
        zones = [zone.strip() for zone in self.base.get("MESHMART_ZONES", "").split(",") if zone.strip()]
        return {"MESH_ZONE": zones[(number - 1) % len(zones)]} if zones else {}

    @staticmethod
    def _web(place: Place) -> dict[str, str]:
        # The forwarder says by a PROXY line for whom it speaks.
        return {"MESHMART_HTTP_ADDRESS": place.at(place.http), "MESHMART_TRUSTED_PROXIES": "127.0.0.1"}

    def _shared(self) -> dict[str, str]:
        variables = {
            CIPHER_SUITES: TLS13_ONLY,
            FORK_SUPPORT: "0",
            # A shop to try things out on: with people whose passwords are known, unless told otherwise.
            "MESHMART_DEMO_USERS": "true",
            **self.base,
            "MESHMART_DATA_DIR": str(self.state.data),
            "PYTHONUNBUFFERED": "1",
        }
        if self.otlp:
            variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = self.otlp
        if self.traces:
            variables["MESHMART_TRACES_URL"] = self.traces
        return variables

    def task(self) -> dict[str, str]:
        """All variables of a process that is no replica, such as the migrations."""
        return self._shared()


def client_environment(
    state: StateDir, nameserver: str, resolver_kind: str, identity: str = OPERATOR
) -> dict[str, str]:
    """`MESH_*` of a program outside that joins the mesh, as the operator unless told otherwise.

    Args:
        state: Of the running cluster.
        nameserver: From its status.
        resolver_kind: Likewise.
        identity: The workload whose certificate is presented.
    """
    return {
        "MESH_SERVICE": identity,
        "MESH_RESOLVER_NAMESERVER": nameserver,
        "MESH_RESOLVER_KIND": resolver_kind,
        "MESH_IDENTITY_DIRECTORY": str(state.certs / identity),
        "MESH_ADMIN_ADDRESS": "",
    }
