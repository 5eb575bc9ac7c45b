"""Diagnoses an identity: would a handshake with it succeed, and if not, why? Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from grpcmesh.identity import leaf, material, path, trust
from grpcmesh.identity.bundles import Bundle, federated
from grpcmesh.identity.fields import to_pem
from grpcmesh.identity.leaf import Expected
from grpcmesh.identity.material import Material, Parsed
from grpcmesh.identity.path import Path
from grpcmesh.identity.problems import Cause, Problem
from grpcmesh.identity.proof import prove


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The result of a diagnosis. The identity is usable if there are no problems.

    `parsed` and `path` are None if the files could not be parsed. The bundle of `parsed` is in the order that
    gRPC needs.
    """

    problems: tuple[Problem, ...]
    parsed: Parsed | None = None
    path: Path | None = None
    #: The usable bundles of other trust domains.
    federated: Mapping[str, Bundle] = field(default_factory=dict)


def diagnose(files: Material, expected: Expected, now: float) -> Diagnosis:
    """Check an identity as its peers would, without touching anything outside. Does not raise.

    Args:
        files: The content of the files.
        expected: The requirements that the certificate has to meet.
        now: Unix seconds.
    """
    parsed = material.parse(files)
    if isinstance(parsed, list):
        return Diagnosis(tuple(parsed))
    parsed = Parsed(parsed.leaf, parsed.chain, path.ordered(parsed.bundle, now))
    way = path.find(parsed.leaf, parsed.chain, parsed.bundle)
    problems = [
        *leaf.check(parsed.leaf, expected, now),
        *trust.check(way, parsed.bundle, now),
        *trust.check_bundle(parsed.leaf, parsed.bundle),
        *trust.check_issuer(way),
    ]
    if not problems:
        problems = _prove(files, parsed, expected)
    workload = leaf.workload_of(parsed.leaf)
    others = federated(files.federated, workload.trust_domain if workload else "", now)
    return Diagnosis(tuple(problems), parsed, way, others)


def _prove(files: Material, parsed: Parsed, expected: Expected) -> list[Problem]:
    chain, bundle = to_pem((parsed.leaf, *parsed.chain)), to_pem(parsed.bundle)
    failure = prove(chain, files.private_key, bundle, expected.roles)
    if not failure:
        return []
    return [Problem(Cause.HANDSHAKE, "tls.crt", f"a handshake with it fails: {failure}")]
