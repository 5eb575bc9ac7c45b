"""The expected identity of a target's servers, and the check of their certificates against it. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from grpcmesh.call import Workload
from grpcmesh.config import MeshConfig
from grpcmesh.identity import leaf, material, path, trust
from grpcmesh.identity.bundles import Bundle
from grpcmesh.identity.credentials import Credentials
from grpcmesh.identity.fields import name_of, utc_of
from grpcmesh.identity.problems import Cause, Problem
from grpcmesh.identity_config import DNS_ONLY
from grpcmesh.spiffe import domain_of, matches
from grpcmesh.target import TargetError

_FILE = "the server's certificate"


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """The names that the certificate of a target's servers must carry.

    Args:
        dns_name: One of its DNS names. gRPC compares it in the handshake. Empty if connections are plaintext
            and the target is a list of addresses.
        spiffe_id: Its only URI, or a pattern of URIs. Empty for a server outside the mesh, for which only the
            DNS name is checked.
    """

    dns_name: str
    spiffe_id: str = ""

    @property
    def is_pattern(self) -> bool:
        """Return whether several SPIFFE ids are accepted."""
        return "*" in self.spiffe_id

    @property
    def domain(self) -> str:
        """Return the trust domain of the servers; empty if only the DNS name is checked."""
        return domain_of(self.spiffe_id)

    @property
    def options(self) -> dict[str, str]:
        """Return channel arguments with which gRPC itself checks both names.

        gRPC compares the DNS name in the handshake, and the SPIFFE id before it sends a call. It requires a
        call's authority to be among the names of the certificate, of any kind, and takes text in brackets as
        it stands (meant for IP literals). So `:authority` of a call to a member of the mesh is its SPIFFE id
        in brackets. A server outside the mesh, or one of several ids, gets its DNS name.
        """
        exact = self.spiffe_id and not self.is_pattern
        authority = f"[{self.spiffe_id}]" if exact else self.dns_name
        if not authority:
            return {}
        return {"grpc.ssl_target_name_override": self.dns_name, "grpc.default_authority": authority}


def server_identity(config: MeshConfig, target: str) -> ServerIdentity:
    """Return the identity that the configuration expects of a target's servers.

    By default it is the SPIFFE id of the service with that name.

    Raises:
        TargetError: The target is malformed, or is a list of addresses without a name.
    """
    parsed = config.target(target)
    if config.plaintext:
        return ServerIdentity(parsed.name.rstrip("."))
    if not parsed.name:
        raise TargetError(
            f"target {target!r} has no name that its servers could prove: give it one, "
            f"MESH_TARGETS=NAME={target}, and open the channel to NAME"
        )
    named = config.identity.servers.get(target, "")
    if not named and parsed.in_cluster:
        named = str(Workload(config.identity.trust_domain, parsed.namespace, parsed.service))
    return ServerIdentity(parsed.name.rstrip("."), "" if named == DNS_ONLY else named)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking a server's certificate.

    Args:
        ends: Unix seconds from which the certificate is refused. In the past if it is refused now.
        cause: Why it is refused from then on; the label of `mesh_server_refused_total`.
        text: The reason for people.
        proved: Whether a path leads to the bundle by certificates that are known here. gRPC exposes only the
            leaf, so intermediates that the server sent are not among them.
    """

    ends: float
    cause: Cause
    text: str
    proved: bool = True


def judge(pem: bytes, expected: ServerIdentity, own: Credentials, now: float) -> Verdict:
    """Check the certificate that a server has shown in a successful handshake.

    Args:
        pem: The leaf.
        expected: The names that it must carry.
        own: Our credentials. Their bundle verifies the server, and their intermediates are likely the
            server's, too.
        now: Unix seconds.
    """
    found = material.certificates(_FILE, pem)
    if isinstance(found, Problem):
        return Verdict(0, Cause.MALFORMED, f"{_FILE} cannot be read")
    bundle = own.bundle_for(expected.domain)
    return _identity(found[0], expected) or _validity(found[0], own, bundle, now)


def _identity(server: x509.Certificate, expected: ServerIdentity) -> Verdict | None:
    if not expected.spiffe_id:
        return None
    ids = leaf.uris(server)
    if len(ids) != 1 or not matches(expected.spiffe_id, ids[0]):
        text = f"the server is {leaf.listed(ids) or 'nobody by SPIFFE id'}, not {expected.spiffe_id}"
        return Verdict(0, Cause.WRONG_WORKLOAD, text)
    if leaf.may_sign(server):
        return Verdict(0, Cause.CA_CERTIFICATE, f"{_FILE} may sign certificates")
    return None


def _validity(server: x509.Certificate, own: Credentials, bundle: Bundle, now: float) -> Verdict:
    way = path.find(server, own.intermediates, bundle)
    problems = trust.check(way, bundle, now, _FILE)
    if problems and way.anchored:
        return Verdict(0, problems[0].cause, str(problems[0]))
    first = min(way.certificates, key=lambda certificate: certificate.not_valid_after_utc)
    ends = first.not_valid_after_utc.timestamp()
    if first is server:
        return Verdict(ends, Cause.EXPIRED, f"{_FILE} expired at {utc_of(ends)}", way.anchored)
    text = f"the CA {name_of(first)!r} above {_FILE} expired at {utc_of(ends)}"
    return Verdict(ends, Cause.ISSUER_EXPIRED, text, way.anchored)


#: Maps gRPC's text for a failed connection to the cause and to our text. The first match counts.
_EXPLAINED: Sequence[tuple[re.Pattern[str], Cause, str]] = tuple(
    (re.compile(pattern), cause, text)
    for pattern, cause, text in (
        (r"certificate has expired", Cause.EXPIRED, f"{_FILE}, or a CA above it, has expired"),
        (
            r"certificate is not yet valid",
            Cause.NOT_YET_VALID,
            f"{_FILE} is not yet valid; is the clock right?",
        ),
        (
            r"unable to get (?:local )?issuer|self.signed|BAD_SIGNATURE|certificate signature failure",
            Cause.UNKNOWN_ISSUER,
            f"{_FILE} is of a CA that is not in our bundle (ca.crt)",
        ),
        (
            r"unsupported certificate purpose",
            Cause.EXTENDED_KEY_USAGE,
            f"{_FILE} is not for servers (serverAuth)",
        ),
        (
            r"Hostname Verification Check failed",
            Cause.DNS_NAME,
            f"{_FILE} has not the DNS name that is called",
        ),
        (
            r"call host does not match",
            Cause.WRONG_WORKLOAD,
            f"{_FILE} has not the SPIFFE id that is expected of this target",
        ),
        (r"CERTIFICATE_VERIFY_FAILED: ([^:]+)", Cause.HANDSHAKE, rf"{_FILE} is refused: \1"),
        (r"Failed to create security handshaker", Cause.HANDSHAKE, "our own certificate cannot be used"),
        (r"WRONG_VERSION_NUMBER", Cause.HANDSHAKE, "the server does not speak TLS"),
        (
            r"Handshake read failed \(Socket closed\)|HANDSHAKE_FAILURE|PROTOCOL_VERSION",
            Cause.HANDSHAKE,
            "the server ended the handshake: it speaks no TLS 1.3, or takes no key like ours",
        ),
    )
)


def explain(details: str) -> tuple[Cause, str] | None:
    """Return the certificate problem behind gRPC's text for a failed connection; None if it has none.

    Args:
        details: Details of the error of a call or of a health watch.
    """
    for pattern, cause, text in _EXPLAINED:
        if found := pattern.search(details):
            return cause, found.expand(text)
    return None
