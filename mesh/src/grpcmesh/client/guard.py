"""What the certificates of a connection are worth, from its first moment to its last."""

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

#: How gRPC tells that the other end is gone.
_CLOSED = re.compile(r"Socket closed|Connection reset|Broken pipe|connection closed", re.IGNORECASE)
_UNVERIFIED = (
    "the bundle has changed, and the server's certificate cannot be verified without its intermediates"
)


class Guards:
    """Makes the guards of a target's connections, and counts what they refuse.

    Args:
        target: Its name, for messages.
        expected: What its servers have to prove.
        identity: Ours, whose bundle verifies them.
        grace: Seconds for which a connection is kept whose server cannot be verified with a new bundle, since
            it may have sent intermediates that are not known here. A new connection tells.
    """

    def __init__(self, target: str, expected: ServerIdentity, identity: IdentityStore, grace: float) -> None:
        self.target, self.expected, self.identity, self.grace = target, expected, identity, grace
        self._refused: Counter[Cause] = Counter()
        self._told: dict[str, Cause] = {}

    def refuse(self, address: str, cause: Cause, text: str) -> str:
        """Count a refusal, log it where it is another than the last of this address, and return its text."""
        self._refused[cause] += 1
        if self._told.get(address) is not cause:
            self._told[address] = cause
            _log.warning("%s at %s is refused: %s", self.target, address, text)
        return text

    def accept(self, address: str) -> None:
        """A server at this address has proved who it is."""
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
    """Watches over the certificates of one connection: the server's and our own.

    Args:
        guards: Of the target.
        uri: Of the endpoint; the native channel has to be opened to `target` instead.
        address: The same, for messages.
    """

    def __init__(self, guards: Guards, uri: str, address: str) -> None:
        self._guards, self._address = guards, address
        self._own = guards.identity.current
        self._bundle = self._own.bundle
        self._remote = RemoteCertificate(uri)
        self.target = self._remote.target
        self._shown = b""
        self._verdict: Verdict | None = None

    async def admit(self) -> None:
        """Judge the server that has just been connected: `refusal` tells the outcome."""
        self.accept(await self._remote.read())

    def accept(self, shown: bytes) -> None:
        """The handshake has succeeded, and the server has shown this certificate; empty: nobody can tell."""
        self._shown = shown
        self._verdict = self._judge(self._own) if shown else None

    def refusal(self) -> str:
        """Why the connection must not be used, or be used any longer; empty while it may."""
        now = self._guards.identity.now()
        if ended := self._own.ended(now):
            return self._refuse(ended.cause, f"our own certificate {ended.text}")
        if self._verdict and now >= self._verdict.ends:
            return self._refuse(self._verdict.cause, self._verdict.text)
        if self._verdict:
            self._guards.accept(self._address)
        return ""

    def trust(self, own: Credentials) -> None:
        """The bundle may have changed: judge the server anew."""
        before = self._verdict
        if before is None or own.bundle == self._bundle:
            return
        self._bundle = own.bundle
        after = self._judge(own)
        if not after.proved and before.proved:
            text = "the CA of the server's certificate has left our bundle (ca.crt)"
            after = Verdict(0, Cause.UNKNOWN_ISSUER, text)
        elif not after.proved:
            until = min(before.ends, self._guards.identity.now() + self._guards.grace)
            after = Verdict(until, Cause.UNKNOWN_ISSUER, _UNVERIFIED, proved=False)
        self._verdict = after

    def explain(self, details: str, *, unanswered: bool = False) -> str:
        """The certificate problem behind gRPC's words for a failed connection, or those words.

        Args:
            unanswered: Whether the handshake had succeeded and the server has not answered since. With TLS
                1.3 that is when a server refuses the certificate of its client, and it tells no reason.
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
        """The connection has been closed."""
        self._remote.forget()

    def _judge(self, own: Credentials) -> Verdict:
        return judge(self._shown, self._guards.expected, own, self._guards.identity.now())

    def _refuse(self, cause: Cause, text: str) -> str:
        return self._guards.refuse(self._address, cause, text)
