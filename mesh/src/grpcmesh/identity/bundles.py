"""The trust bundles, one for each trust domain: a CA can only issue identities of its own domain."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509

from grpcmesh.identity import material, path, trust
from grpcmesh.identity.fields import to_pem
from grpcmesh.identity.material import Material
from grpcmesh.identity.problems import Problem

_log = logging.getLogger(__name__)

Bundle = tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class Bundles:
    """The CAs of each trust domain that is trusted.

    Args:
        domain: Our own trust domain.
        own: Its bundle.
        federated: The bundles of other trust domains, by name.
    """

    domain: str = ""
    own: Bundle = ()
    federated: Mapping[str, Bundle] = field(default_factory=dict)

    def of(self, domain: str) -> Bundle:
        """Return the CAs that may issue identities of a trust domain; none if it is not trusted."""
        return self.own if domain == self.domain else self.federated.get(domain, ())

    def trusts(self, domain: str) -> bool:
        """Return whether workloads of a trust domain are accepted."""
        return domain == self.domain or domain in self.federated

    def pem(self) -> bytes:
        """Return all CAs, for handshakes whose peer is not known yet. Ours are first.

        TLS uses the first CA with the right name and key identifier, so no foreign CA can get in the way of
        ours. The identity in the certificate is verified again with the bundle of its own domain.
        """
        return to_pem(ca for bundle in (self.own, *self.federated.values()) for ca in bundle)


def federated(given: Mapping[str, bytes], own_domain: str, now: float) -> dict[str, Bundle]:
    """Return the usable bundles of other trust domains. Does not raise.

    They come from others, so a bad one costs its own domain, and nothing else. One for our own domain is
    ignored.

    Args:
        given: PEM certificates by trust domain.
        own_domain: Our own trust domain.
        now: Unix seconds.
    """
    found = {}
    for domain, content in given.items():
        cas = material.certificates(domain, content)
        if domain == own_domain or isinstance(cas, Problem):
            continue
        usable = tuple(ca for ca in path.ordered(cas, now) if trust.is_ca(ca))
        if usable:
            found[domain] = usable
    return found


def tell_unusable(given: Material | Problem | None, used: Bundles) -> None:
    """Log the trust domains whose bundle was given and cannot be used."""
    domains = given.federated.keys() if isinstance(given, Material) else frozenset[str]()
    for domain in sorted(domains - used.federated.keys() - {used.domain}):
        _log.warning("the bundle of the trust domain %s has no usable CA: it is not trusted", domain)
