"""The environment of a replica's process, as a pod's manifest would set it."""

from collections.abc import Mapping
from dataclasses import dataclass

from grpcmesh.grpc_environment import CIPHER_SUITES, EXPERIMENTS, FORK_SUPPORT, OWN_POLLER, TLS13_ONLY
from local.addresses import Place
from local.catalog import AUDIENCE, ERROR_DOMAIN, ISSUER, NAMESPACE, OPERATOR, ServiceSpec
from local.state import StateDir

#: How the variables begin that the library and gRPC read.
MESH_VARIABLES = ("MESH_", "OTEL_", "GRPC_")
# Enough to trace some of a visitor's few clicks, little enough that a load test does not fill the store.
_SAMPLE_RATIO = "0.05"


@dataclass(frozen=True)
class Surroundings:
    """The settings that all replicas share."""

    state: StateDir
    base: Mapping[str, str]
    """The supervisor's own environment. The user's MESH_* variables apply unless they are set here."""
    nameserver: str
    """The address of the DNS server, `127.0.0.1:PORT`."""
    resolver_kind: str
    otlp: str
    """The OTLP endpoint; empty if there is none."""
    traces: str
    """The URL of the trace pages; empty if there are none."""

    def replica(self, spec: ServiceSpec, number: int, place: Place) -> dict[str, str]:
        """Return all variables of one replica's process."""
        return {
            "MESH_TELEMETRY_SAMPLE_RATIO": _SAMPLE_RATIO,
            # Faults may be injected here: that is one purpose of the embedded cluster.
            "MESH_FAULT_ENABLED": "true",
            "MESH_AUTH_ISSUER": ISSUER,
            "MESH_AUTH_AUDIENCE": AUDIENCE,
            "MESH_SERVER_ERROR_DOMAIN": ERROR_DOMAIN,
            **self._shared(),
            "MESH_SERVICE": spec.name,
            "MESH_NAMESPACE": NAMESPACE,
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
        """Return the replica's zone.

        With `MESHMART_ZONES=a,b` replica 1 of each service is in a, 2 in b, 3 in a.
        """
        zones = [zone.strip() for zone in self.base.get("MESHMART_ZONES", "").split(",") if zone.strip()]
        return {"MESH_ZONE": zones[(number - 1) % len(zones)]} if zones else {}

    @staticmethod
    def _web(place: Place) -> dict[str, str]:
        # The forwarder names its client in a PROXY line.
        return {"MESHMART_HTTP_ADDRESS": place.at(place.http), "MESHMART_TRUSTED_PROXIES": "127.0.0.1"}

    def _shared(self) -> dict[str, str]:
        variables = {
            CIPHER_SUITES: TLS13_ONLY,
            FORK_SUPPORT: "0",
            EXPERIMENTS: OWN_POLLER,  # known to the grpcio that requirements.lock pins
            # A shop for trials has users with known passwords, unless the user's environment says otherwise.
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
        """Return all variables of a process that is no replica, such as the migrations."""
        return self._shared()


def client_environment(
    state: StateDir, nameserver: str, resolver_kind: str, identity: str = OPERATOR
) -> dict[str, str]:
    """Return the `MESH_*` variables of an external program that joins the mesh, by default as the operator.

    Args:
        state: The state directory of the running cluster.
        nameserver: The DNS server, from the cluster's status.
        resolver_kind: The resolver, from the cluster's status.
        identity: The workload whose certificate is presented.
    """
    return {
        "MESH_SERVICE": identity,
        "MESH_NAMESPACE": NAMESPACE,
        "MESH_RESOLVER_NAMESERVER": nameserver,
        "MESH_RESOLVER_KIND": resolver_kind,
        "MESH_IDENTITY_DIRECTORY": str(state.certs / identity),
        "MESH_ADMIN_ADDRESS": "",
    }
