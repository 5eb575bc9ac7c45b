"""Converts an answer of the SPIFFE Workload API to the content of an identity's files. Pure."""

import base64
from collections.abc import Iterator
from typing import Any

from grpcmesh.identity.material import MAX_CERTIFICATES, MAX_SIZE, Material
from grpcmesh.spiffe import is_trust_domain, matches

_SCHEME = "spiffe://"
#: The tag of an ASN.1 SEQUENCE, with which a certificate begins.
_SEQUENCE = 0x30


class SvidError(Exception):
    """Raised for an answer without a usable identity. The message is one line."""


def material_of(response: Any, wanted: str) -> Material:
    """Return the certificate, key and bundles of an answer.

    Args:
        response: A `mesh.spiffe.v1.X509SvidResponse`.
        wanted: The SPIFFE id of the process, or a pattern. If no identity has it, the first one is taken, and
            the checks of the identity tell what is wrong.

    Raises:
        SvidError: There is no identity, or it is malformed.
    """
    if not response.svids:
        raise SvidError("the SPIFFE Workload API has no identity for this workload: register an entry for it")
    svid = next((s for s in response.svids if matches(wanted, s.spiffe_id)), response.svids[0])
    federated = {}
    for uri, bundle in response.federated_bundles.items():
        domain = uri.removeprefix(_SCHEME)
        if is_trust_domain(domain):
            federated[domain] = _federated(bundle)
    return Material(
        _certificates("x509_svid", svid.x509_svid),
        _pem("PRIVATE KEY", svid.x509_svid_key),
        _certificates("bundle", svid.bundle),
        federated,
    )


def _federated(bundle: bytes) -> bytes:
    """Return a bundle of another trust domain. A malformed one is empty: it costs its own domain only."""
    try:
        return _certificates("federated bundle", bundle)
    except SvidError:
        return b""


def _certificates(name: str, der: bytes) -> bytes:
    return b"".join(_pem("CERTIFICATE", part) for part in _split(name, der))


def _split(name: str, der: bytes) -> Iterator[bytes]:
    """Yield the concatenated DER values. Raises SvidError if they do not fill the bytes exactly."""
    if not der or len(der) > MAX_SIZE:
        raise SvidError(f"the SPIFFE Workload API sent {len(der)} bytes as {name}")
    begin, count = 0, 0
    while begin < len(der):
        end, count = begin + _length(der[begin : begin + 6]), count + 1
        if end <= begin or end > len(der) or count > MAX_CERTIFICATES:
            raise SvidError(f"the SPIFFE Workload API sent no DER certificates as {name}")
        yield der[begin:end]
        begin = end


def _length(head: bytes) -> int:
    """Return the length of a DER value with its head (X.690, 8.1.3), or 0 if it is no SEQUENCE."""
    if len(head) < 2 or head[0] != _SEQUENCE:
        return 0
    if head[1] < 0x80:
        return 2 + head[1]
    octets = head[1] & 0x7F
    if not 1 <= octets <= 4 or len(head) < 2 + octets:
        return 0
    return 2 + octets + int.from_bytes(head[2 : 2 + octets], "big")


def _pem(label: str, der: bytes) -> bytes:
    # Not by `textwrap`, whose time grows with the square: this runs on the event loop.
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[begin : begin + 64] for begin in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
