"""The facts that the probes collect, and that the rules judge."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from grpcmesh.identity import Diagnosis, Problem
from grpcmesh.identity.problems import Cause as CertificateCause
from grpcmesh.identity_config import SOCKET_SCHEME


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The certificate of this workload.

    Args:
        directory: The directory of the files, or the socket of the SPIFFE Workload API, for messages.
        missing: The file that does not exist; empty if there is none.
        diagnosis: The problems of the files.
        workload: The SPIFFE id in the certificate; empty if unknown.
        issuer: Name of the CA that signed it; empty if unknown.
        begins, ends: Unix seconds of the validity of the certificate, or of the CA above it that ends first.
    """

    directory: str
    missing: str = ""
    diagnosis: Diagnosis = field(default_factory=lambda: Diagnosis(()))
    workload: str = ""
    issuer: str = ""
    begins: float = float("-inf")
    ends: float = float("inf")

    @property
    def from_socket(self) -> bool:
        """Return whether it comes from a SPIFFE Workload API."""
        return self.directory.startswith(SOCKET_SCHEME)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return why handshakes with it fail."""
        return self.diagnosis.problems


@dataclass(frozen=True, slots=True)
class NameLookup:
    """The answer of DNS to the name of a target.

    Args:
        name: The full name; empty for addresses without a name.
        result: `found`, `empty`, `nxdomain`, `failed`, or `static` if DNS was not asked.
        error: Why the look-up failed.
        cluster_ip: The only address, if it is the cluster IP of a Service that is not headless.
    """

    name: str
    result: str
    error: str = ""
    cluster_ip: str = ""


@dataclass(frozen=True, slots=True)
class Handshake:
    """The result of a TLS handshake with an endpoint.

    Args:
        cause, text: Why we refuse the server's certificate; None if we accept it.
        refused: Whether the server closed the connection after it had seen our certificate.
    """

    cause: CertificateCause | None = None
    text: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of an endpoint's gRPC server.

    Args:
        error: Code and details, if the health service cannot be asked.
        not_serving: Names of services that are NOT_SERVING; "" is the whole process.
        ahead: Seconds by which the server's clock is ahead of ours; None if it is unknown.
        denied: The server's words by method, for methods that its policy denies us.
        unknown: Methods that the server does not serve.
        peers: The callers that are connected, by address and certificate; None if they are unknown.
    """

    error: str = ""
    not_serving: tuple[str, ...] = ()
    ahead: float | None = None
    denied: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    peers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a target. What could not be tried, because an earlier step failed, is None.

    Args:
        address: IP address and port.
        closed: Why the port cannot be connected to; empty if it can.
    """

    address: str
    closed: str = ""
    handshake: Handshake | None = None
    answers: Answers | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A target, its name and its endpoints. `left_out`: the number of endpoints that were not looked at."""

    target: str
    lookup: NameLookup
    endpoints: tuple[Endpoint, ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Process:
    """The process of this workload, by its own metrics.

    Args:
        denials: Number of calls that our policy denied, by caller and method.
        keys: Number of keys that verify users' tokens; None if it verifies none.
        failed_fetches: How often the keys could not be fetched.
        users: Whether the policy has methods that need a user.
    """

    denials: Mapping[tuple[str, str], int] = field(default_factory=dict)
    keys: int | None = None
    failed_fetches: int = 0
    users: bool = False


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """An identity provider whose keys cannot be fetched.

    Args:
        issuer: Its name in `MESH_AUTH_ISSUERS`.
        cause: A `grpcmesh.auth.KeyCause`.
        text: What happened, with the address.
    """

    issuer: str
    cause: str
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of one examination.

    Args:
        now: Unix seconds.
        certificate: None in plaintext mode.
        policy: Why our policy file cannot be used; empty if it can.
        exporter: The OTLP endpoint and why it cannot be reached; None if it can, or there is none.
        keys: The identity providers whose keys cannot be fetched.
        unfinished: Targets whose examination did not end in time.
        asked: By target, the methods that it is asked for.
        skipped: Lines that say what could not be looked at, and why.
    """

    now: float
    certificate: OwnCertificate | None = None
    targets: tuple[Target, ...] = ()
    process: Process | None = None
    policy: str = ""
    exporter: tuple[str, str] | None = None
    unfinished: tuple[str, ...] = ()
    asked: Mapping[str, Collection[str]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    keys: tuple[KeyProblem, ...] = ()
