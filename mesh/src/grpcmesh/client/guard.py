"""Checks the certificates of a connection when it is made and for as long as it lasts."""

import logging
import re
from collections import Counter
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.identity import Cause, Credentials, IdentityStore, ServerIdentity, Verdict, explain, judge
from grpcmesh.identity.fields import utc_of
from grpcmesh.identity.remote import RemoteCertificate

_log = logging.getLogger(__name__)

#: The texts by which gRPC reports that the other end has closed the connection.
_CLOSED = re.compile(r"Socket closed|Connection reset|Broken pipe|connection closed", re.IGNORECASE)
_UNVERIFIED = (
    "the bundle has changed, and the server's certificate cannot be verified without its intermediates"
)


class Guards:
    """The certificate checks that the connections of one target share. Counts the refusals.

    Args:
        target: Name of the target, for messages.
        expected: The identity that its servers have to prove.
        identity: Our own identity, whose bundle verifies the servers.
        grace: Seconds for which a connection is kept if its server cannot be verified with a new bundle. The
            server may have sent intermediates that are not known here; a new connection shows whether it did.
    """

    def __init__(self, target: str, expected: ServerIdentity, identity: IdentityStore, grace: float) -> None:
        self.target, self.expected, self.identity, self.grace = target, expected, identity, grace
        self._refused: Counter[Cause] = Counter()
        self._told: dict[str, Cause] = {}

    def refuse(self, address: str, cause: Cause, text: str) -> str:
        """Count a refusal and return its text. Log it if the cause differs from this address's last one."""
        self._refused[cause] += 1
        if self._told.get(address) is not cause:
            self._told[address] = cause
            _log.warning("%s at %s is refused: %s", self.target, address, text)
        return text

    def accept(self, address: str) -> None:
        """Note that a server at this address has proved its identity: its next refusal is logged again."""
        self._told.pop(address, None)

    def collect(self) -> Iterable[Metric]:
        """Yield the count of refusals."""
        family = CounterMetricFamily(
            "mesh_server_refused",
            "Connections that were refused, or cut, for what their certificates are, by cause.",
            labels=["target", "cause"],
        )
        for cause in (Cause.EXPIRED, Cause.WRONG_WORKLOAD, *self._refused):
            family.add_metric([self.target, cause], self._refused[cause])
        yield family


class Guard:
    """Checks both certificates of one connection: the server's and our own.

    Args:
        guards: The guards of the target.
        uri: URI of the endpoint. The native channel has to be opened to the attribute `target` instead.
        address: Address of the endpoint, for messages.
    """

    def __init__(self, guards: Guards, uri: str, address: str) -> None:
        self._guards, self._address = guards, address
        self._own = guards.identity.current
        self._bundle = self._own.bundle_for(guards.expected.domain)
        self._remote = RemoteCertificate(uri)
        self.target = self._remote.target
        self._shown = b""
        self._verdict: Verdict | None = None

    async def admit(self) -> None:
        """Check the certificate of the server that has just been connected. `refusal` returns the outcome."""
        self.accept(await self._remote.read())

    def accept(self, shown: bytes) -> None:
        """Check the certificate that the server has shown in the handshake. `shown`: empty if unknown."""
        self._shown = shown
        self._verdict = self._judge(self._own) if shown else None
        if not shown and self._guards.expected.is_pattern:  # which gRPC cannot check
            self._verdict = Verdict(0, Cause.WRONG_WORKLOAD, "the server's certificate is not known")

    def refusal(self) -> str:
        """Return why the connection must not be used (any longer), or an empty string if it may be."""
        now = self._guards.identity.now()
        if ended := self._own.ended(now):
            return self._refuse(ended.cause, f"our own certificate {ended.text}")
        if self._verdict and now >= self._verdict.ends:
            return self._refuse(self._verdict.cause, self._verdict.text)
        if self._verdict:
            self._guards.accept(self._address)
        return ""

    def trust(self, own: Credentials) -> None:
        """Check the server's certificate again if the bundle has changed."""
        before, bundle = self._verdict, own.bundle_for(self._guards.expected.domain)
        if before is None or bundle == self._bundle:
            return
        self._bundle = bundle
        after = self._judge(own)
        if not after.proved and before.proved:
            text = "the CA of the server's certificate has left our bundle (ca.crt)"
            after = Verdict(0, Cause.UNKNOWN_ISSUER, text)
        elif not after.proved:
            until = min(before.ends, self._guards.identity.now() + self._guards.grace)
            after = Verdict(until, Cause.UNKNOWN_ISSUER, _UNVERIFIED, proved=False)
        self._verdict = after

    def explain(self, details: str, *, unanswered: bool = False) -> str:
        """Return the certificate problem behind a failed connection, or gRPC's own text if there is none.

        Args:
            details: gRPC's text for the failure.
            unanswered: Whether the handshake succeeded and the server has not answered since. With TLS 1.3,
                a server that refuses its client's certificate looks like this, and gives no reason.
        """
        if ended := self._own.ended(self._guards.identity.now()):
            return self._refuse(ended.cause, f"our own certificate {ended.text} ({details})")
        if found := explain(details):
            return self._refuse(*found)
        if unanswered and _CLOSED.search(details):
            own = self._own
            shown = f"{own.workload}, issued by {own.issued_by!r}, valid until {utc_of(own.not_after)}"
            return (
                "the server closed the connection right after the handshake: it may not accept our"
                f" certificate ({shown}); its log tells ({details})"
            )
        return details

    def forget(self) -> None:
        """Release what is kept about the connection, which has been closed."""
        self._remote.forget()

    def _judge(self, own: Credentials) -> Verdict:
        return judge(self._shown, self._guards.expected, own, self._guards.identity.now())

    def _refuse(self, cause: Cause, text: str) -> str:
        return self._guards.refuse(self._address, cause, text)
