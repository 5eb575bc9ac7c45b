"""The services that the embedded cluster runs: those of the shop, as their manifests describe them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services import manifest
from services.manifest import ADMIN_PORT, CONSOLE, HEALTH_PORT, MESH_PORT, OPERATOR, Manifest, Manifests

__all__ = (
    "ADMIN_PORT",
    "AUDIENCE",
    "CLUSTER_DOMAIN",
    "CONSOLE",
    "ERROR_DOMAIN",
    "HEALTH_PORT",
    "ISSUER",
    "MESH_PORT",
    "NAMESPACE",
    "OPERATOR",
    "OUTSIDER",
    "SHOP",
    "Catalog",
    "ServiceSpec",
    "of_manifests",
)

NAMESPACE, CLUSTER_DOMAIN = "meshmart", "cluster.local"
ISSUER, AUDIENCE, ERROR_DOMAIN = "https://user.meshmart", "meshmart", "meshmart"
"""What clients know of the shop: issuer and audience of its tokens, and the domain of reasons in errors. The
chart sets the same."""
OUTSIDER = "outsider"
"""A member of the mesh that the policy lets call nothing: the tour's intruder."""


@dataclass(frozen=True)
class ServiceSpec:
    """A service and how its processes run."""

    name: str
    """The workload's name: in DNS, in certificates, on the command line."""
    module: str
    """The module that `python -m` runs."""
    subnet: int
    """The third octet of its replicas' loopback addresses: 127.0.SUBNET.REPLICA."""
    replicas: int = 2
    """The number of replicas unless `--replicas` says otherwise."""
    stores: bool = True
    """Whether it has a database, and so starts after the migrations."""
    first: bool = False
    """Whether the shop's first page needs it. Such services start before the others, until they are ready."""
    web: bool = False
    """Whether it speaks HTTP instead of gRPC. The forwarder leads to its ready replicas."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables; `{state}` is replaced by the state directory."""


Catalog = Mapping[str, ServiceSpec]

#: The environment variables by which a service finds a secret.
_SECRETS: Mapping[str, Mapping[str, str]] = {
    manifest.SIGNING_KEYS: {"MESHMART_SIGNING_KEYS_DIR": "{state}/keys"},
    manifest.MAIL: {},  # no mail system, unless the user's own environment names one
}


def of_manifests(manifests: Manifests) -> Catalog:
    """Return how the embedded cluster runs the services that have these manifests."""
    return {name: _spec(one) for name, one in manifests.items()}


def _spec(one: Manifest) -> ServiceSpec:
    return ServiceSpec(
        one.name,
        one.module,
        one.subnet,
        replicas=one.replicas,
        stores=one.stores,
        first=one.first,
        web=one.kind == manifest.WEB,
        environment={name: value for secret in one.secrets for name, value in _SECRETS[secret].items()},
    )


SHOP: Catalog = of_manifests(manifest.shop())
