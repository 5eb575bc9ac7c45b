"""Who calls: a workload, known by its certificate, and the user on whose behalf it calls."""

from dataclasses import dataclass

from grpcmesh.spiffe import parse_workload, split_id


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload, identified by a certificate: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE`.

    A workload whose SPIFFE id has another path has neither namespace nor service, but that `path`.
    """

    trust_domain: str
    namespace: str
    service: str
    path: str = ""

    def __str__(self) -> str:
        path = self.path or f"/ns/{self.namespace}/sa/{self.service}"
        return f"spiffe://{self.trust_domain}{path}"

    def seen_from(self, trust_domain: str, namespace: str) -> str:
        """Return the short name of a service of this trust domain and namespace; of others the SPIFFE id."""
        ours = self.service and self.namespace == namespace and self.trust_domain == trust_domain
        return self.service if ours else str(self)

    @classmethod
    def parse(cls, uri: str) -> "Workload | None":
        """Return the workload of a SPIFFE id in the form above, or None if the text has another form.

        `str()` of the result is the text again, so two ids are equal only if their texts are.
        """
        found = parse_workload(uri)
        return cls(*found) if found else None

    @classmethod
    def of_id(cls, uri: str) -> "Workload | None":
        """Return the workload of a SPIFFE id with any path, or None if the text is no SPIFFE id."""
        known, found = cls.parse(uri), split_id(uri)
        return known or (cls(found[0], "", "", found[1]) if found else None)


@dataclass(frozen=True, slots=True)
class Principal:
    """The user on whose behalf a call is made, identified by a token.

    Users of different issuers may have the same `subject`; the two together identify a user.
    """

    #: The user's number, if the issuer's subjects are numbers (`MESH_AUTH_SUBJECTS`). Otherwise 0.
    user_id: int
    name: str
    roles: frozenset[str] = frozenset()
    #: Unix seconds at which the token expires, and at which it was issued (0 if unknown).
    expires_at: float = 0.0
    issued_at: float = 0.0
    #: The log-in that the token belongs to; empty if unknown.
    session: str = ""
    #: The user at the issuer (`sub`), and the issuer (`iss`).
    subject: str = ""
    issuer: str = ""

    def has(self, role: str) -> bool:
        return role in self.roles
