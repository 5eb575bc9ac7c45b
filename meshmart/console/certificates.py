"""When a certificate is renewed next. Pure.

A process knows when its certificate begins and ends, but not when its issuer will renew it. The embedded
cluster's status says how long before the end that is. On Kubernetes the chart tells the console what it tells
cert-manager.
"""

from collections.abc import Iterable
from dataclasses import replace

from meshmart.console.model import Certificate


def with_renewal(certificate: Certificate | None, renew_before: float | None) -> Certificate | None:
    """Return the certificate with the time of its next renewal.

    It is `renew_before` seconds before the end, but at two thirds of the lifetime if that is no longer than
    `renew_before`: the rule of cert-manager (`pkg/util/pki`, `RenewalTime`).

    Args:
        certificate: The certificate in use.
        renew_before: None if the issuer's rule is not known; then the time of the renewal is not known.
    """
    if certificate is None or renew_before is None:
        return certificate
    lifetime = certificate.not_after - certificate.not_before
    before = renew_before if renew_before < lifetime else lifetime / 3
    return replace(certificate, renewal=certificate.not_after - before)


def distinct(certificates: Iterable[Certificate | None]) -> tuple[Certificate, ...]:
    """Return each certificate once, the one that ends first before the others."""
    found = {certificate for certificate in certificates if certificate}
    return tuple(sorted(found, key=lambda c: (c.not_after, c.serial)))
