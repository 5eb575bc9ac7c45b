"""The table of causes: for each, what to do about it."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grpcmesh.identity.problems import Cause as CertificateCause

#: The most characters of a problem.
_LONGEST = 500
#: The most values that a line lists, such as endpoints, callers, services or workloads.
_LISTED = 3


class Cause(enum.StrEnum):
    """The causes that `check` names, beside those of certificates."""

    NAME_NOT_FOUND = "name_not_found"
    NO_ADDRESSES = "no_addresses"
    DNS_UNREACHABLE = "dns_unreachable"
    NOT_HEADLESS = "not_headless"
    PORT_CLOSED = "port_closed"
    CERTIFICATE_MISSING = "certificate_missing"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    ISSUER_NOT_IN_PEERS_BUNDLE = "issuer_not_in_peers_bundle"
    CLOCK_SKEW = "clock_skew"
    NOT_SERVING = "not_serving"
    CALL_REFUSED = "call_refused"
    METHOD_UNKNOWN = "method_unknown"
    TOO_SLOW = "too_slow"
    POLICY_UNUSABLE = "policy_unusable"
    POLICY_DENIES = "policy_denies"
    TOKENS_UNVERIFIABLE = "tokens_unverifiable"
    PINNED_CLIENTS = "pinned_clients"
    EXPORTER_UNREACHABLE = "exporter_unreachable"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Args:
        cause: A `Cause`; or `certificate_…` or `server_certificate_…` with a cause of mesh/docs/identity.md.
        subject: The target, or the part of this workload, that has it.
        problem: What is wrong, in one sentence without a full stop.
        remedy: What to do about it, likewise.
    """

    cause: str
    subject: str
    problem: str
    remedy: str

    @classmethod
    def of(cls, cause: str, subject: str, problem: str, remedy: str) -> "Finding":
        """Return a finding in printable text of bounded length, because it may quote other processes."""
        return cls(cause, subject, printable(problem, _LONGEST), remedy)

    def __str__(self) -> str:
        stop = "" if self.problem.endswith("?") else "."
        return f"{self.subject}: {self.problem}{stop} Remedy: {self.remedy}. [{self.cause}]"


def printable(text: str, longest: int) -> str:
    """Return the first `longest` characters of a text, with those that cannot be shown escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:longest])


def listed(values: Iterable[str]) -> str:
    """Return a list for a sentence, of bounded length: at most three values, and how many more there are."""
    values = list(values)
    shown = ", ".join(values[:_LISTED])
    return f"{shown} and {len(values) - _LISTED} more" if len(values) > _LISTED else shown


#: What to do about each cause.
REMEDIES: Mapping[Cause, str] = {
    Cause.NAME_NOT_FOUND: (
        "create a headless Service with this name, or correct the target's name, MESH_NAMESPACE or "
        "MESH_CLUSTER_DOMAIN; see that at least one of its pods is ready"
    ),
    Cause.NO_ADDRESSES: "see that the Service's selector matches its pods, and that one of them is ready",
    Cause.DNS_UNREACHABLE: (
        "see that the nameserver runs and that a NetworkPolicy allows port 53 over UDP and TCP, or set "
        "MESH_RESOLVER_NAMESERVER"
    ),
    Cause.NOT_HEADLESS: (
        "set `clusterIP: None` in the Service (delete and create it again), so that DNS answers with the "
        "address of each pod"
    ),
    Cause.PORT_CLOSED: (
        "see that the server listens on this port and on the pod's address (MESH_ADDRESS), or name the "
        "right port (MESH_RESOLVER_PORT, or `:PORT` in the target); see that no NetworkPolicy blocks it"
    ),
    Cause.CERTIFICATE_MISSING: (
        "set MESH_IDENTITY_DIRECTORY, and mount the whole Secret there, never by `subPath`; for "
        "development, `python -m grpcmesh ca` makes certificates"
    ),
    Cause.CERTIFICATE_EXPIRING: (
        "see why it has not been renewed (`kubectl describe certificate`), and that the Secret is not "
        "mounted by `subPath`"
    ),
    Cause.ISSUER_NOT_IN_PEERS_BUNDLE: (
        "add our CA to the ca.crt of this target, and keep both CAs there until every certificate is "
        "renewed; the server's log names the reason"
    ),
    Cause.CLOCK_SKEW: "synchronize the clocks of both nodes (chrony or systemd-timesyncd)",
    Cause.NOT_SERVING: (
        "look at the server's log: it is starting, draining, or says itself that it cannot serve"
    ),
    Cause.CALL_REFUSED: "look at the server's log, and at its rules for callers",
    Cause.METHOD_UNKNOWN: "correct the method's name, or see which version of the server runs there",
    Cause.TOO_SLOW: "see whether DNS and the servers answer slowly, or give it more time (--timeout)",
    Cause.POLICY_UNUSABLE: (
        "correct the file that MESH_AUTHZ_POLICY_FILE names; until then the server does not start"
    ),
    Cause.POLICY_DENIES: (
        "if the call is meant to be allowed, add the caller and the method to `[[allow]]` of the policy "
        "of the server"
    ),
    Cause.TOKENS_UNVERIFIABLE: (
        "see that the issuer of the keys runs and may be called, and that the server has a source of keys"
        " (`mesh.server(keys=…)`)"
    ),
    Cause.PINNED_CLIENTS: (
        "let this client balance: mesh it, or give it `round_robin` with a `dns:///` target, or set "
        "MESH_SERVER_MAX_CONNECTION_AGE so that it connects again now and then"
    ),
    Cause.EXPORTER_UNREACHABLE: (
        "see that the collector runs and listens for OTLP over gRPC, or correct "
        "MESH_TELEMETRY_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT"
    ),
}

#: What to do about a certificate of a SPIFFE Workload API.
SOCKET_REMEDY = (
    "see that the agent runs, that its socket is mounted, and that the registration entry of this workload "
    "has its SPIFFE id and its DNS names"
)

_ADDRESS = "correct MESH_AUTH_ISSUERS, or name the address of the keys in MESH_AUTH_JWKS"
#: What to do about each cause of keys that cannot be fetched (`grpcmesh.auth.KeyCause`).
KEY_REMEDIES: dict[str, str] = {
    "name_unknown": f"{_ADDRESS}; see that this workload may ask a DNS that knows the provider",
    "unreachable": "see that the provider runs, and that egress from this workload to it is allowed",
    "timeout": "see that the provider runs, and that egress is allowed; or raise MESH_AUTH_FETCH_TIMEOUT",
    "untrusted": "put the CA of the provider's HTTPS certificate into the file of MESH_AUTH_CA_FILE",
    "redirect": "set the address that it redirects to, if it is the provider's: redirects are not followed",
    "status": _ADDRESS,
    "too_large": _ADDRESS,
    "not_http": _ADDRESS,
    "not_json": _ADDRESS,
    "not_keys": f"{_ADDRESS}, and see that MESH_AUTH_ALGORITHMS allows what the provider signs with",
    "issuer_mismatch": "set the issuer in MESH_AUTH_ISSUERS exactly as the provider writes it",
    "not_https": "have the provider publish https addresses, or set MESH_AUTH_JWKS",
    "unreadable": "correct the path in MESH_AUTH_JWKS, and let the process's user read it",
}

_ANEW = "issue the certificate again: `kubectl describe certificate`, or `python -m grpcmesh ca`"
#: What to do about each cause of a certificate.
CERTIFICATE_REMEDIES: dict[CertificateCause, str] = {
    CertificateCause.UNREADABLE: (
        "see that the process's user may read it (`fsGroup`, `defaultMode`), and mount the whole Secret, "
        "never by `subPath`"
    ),
    CertificateCause.MALFORMED: "write the files at once (symlink swap), in PEM",
    CertificateCause.ENCRYPTED_KEY: "store the key unencrypted",
    CertificateCause.KEY_MISMATCH: "write certificate and key at once: these are from two issuances",
    CertificateCause.WRONG_ORDER: "put the leaf first into tls.crt, then its issuer, and so on",
    CertificateCause.UNSUPPORTED_KEY: "issue it on P-256",
    CertificateCause.WEAK_SIGNATURE: "sign it with SHA-256",
    CertificateCause.NOT_YET_VALID: ("check the clock of this node against its issuer's, or wait until then"),
    CertificateCause.EXPIRED: ("renew it, and see why that did not happen (`kubectl describe certificate`)"),
    CertificateCause.CA_CERTIFICATE: "issue a leaf, without CA:TRUE and keyCertSign",
    CertificateCause.KEY_USAGE: "add digitalSignature to its usages",
    CertificateCause.EXTENDED_KEY_USAGE: "set `usages: [server auth, client auth]`",
    CertificateCause.SPIFFE_ID: "set `uris` to exactly one SPIFFE id",
    CertificateCause.WRONG_WORKLOAD: (
        "mount the Secret of this workload, or correct MESH_SERVICE, MESH_NAMESPACE, "
        "MESH_IDENTITY_TRUST_DOMAIN or MESH_IDENTITY_SERVERS"
    ),
    CertificateCause.DNS_NAME: "add the name to `dnsNames` of the certificate",
    CertificateCause.UNKNOWN_ISSUER: (
        "put the CA that signed it into ca.crt, or the missing intermediate into tls.crt"
    ),
    CertificateCause.ISSUER_KEY_CHANGED: "keep both CAs in ca.crt until every certificate is renewed",
    CertificateCause.AMBIGUOUS_ISSUER: "give each CA a name of its own",
    CertificateCause.ISSUER_NOT_YET_VALID: "check the clock of this node, or wait until then",
    CertificateCause.ISSUER_EXPIRED: "renew the CA, then every certificate",
    CertificateCause.INVALID_ISSUER: "issue the chain again",
    CertificateCause.HANDSHAKE: _ANEW,
}
#: What to do about the certificate of a server, where that differs from our own.
SERVER_REMEDIES: Mapping[CertificateCause, str] = CERTIFICATE_REMEDIES | {
    CertificateCause.UNKNOWN_ISSUER: (
        "add the CA that signed the server's certificate to our ca.crt, or the missing intermediate to the "
        "server's tls.crt"
    ),
    CertificateCause.WRONG_WORKLOAD: (
        "if it is the right server, name its id in MESH_IDENTITY_SERVERS; otherwise the name leads to "
        "another workload: see the selector of its Service"
    ),
    CertificateCause.DNS_NAME: "add the name to `dnsNames` of the server's certificate",
    CertificateCause.EXPIRED: "renew it, and see why the server has not; check the clock of this node",
    CertificateCause.HANDSHAKE: (
        "see that this port is the mesh port, and that both sides use TLS or neither does; look at the "
        "server's log"
    ),
}
