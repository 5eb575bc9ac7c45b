"""The certificate directory, polled by content: the last good identity is served, whatever lies there now."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import grpc
from prometheus_client import Metric

from grpcmesh.call import Workload
from grpcmesh.clock import Clock
from grpcmesh.config import IdentityConfig, MeshConfig
from grpcmesh.identity import metrics
from grpcmesh.identity.credentials import Credentials, IdentityError
from grpcmesh.identity.diagnosis import Diagnosis, diagnose
from grpcmesh.identity.files import located, read
from grpcmesh.identity.handshakes import HandshakeMonitor
from grpcmesh.identity.leaf import BOTH, Expected, Role
from grpcmesh.identity.material import Material
from grpcmesh.identity.peers import Peers
from grpcmesh.identity.problems import Problem

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """The files of the directory at one look, and the problems found in them."""

    files: Material | Problem
    diagnosis: Diagnosis


class IdentityStore:
    """The identity of this process, fresh.

    The content is polled, not watched: inotify misses the kubelet's symlink swap on some mounts. A new
    identity is used only if a handshake with it would succeed (`diagnose`); otherwise the last good one
    stays, the cause is logged once, counted and shown, and the files are looked at again when they change
    or when the problem passes with time.

    Args:
        config: Where the files lie.
        expected: Whose they have to be; by default anybody's of the trust domain, for both roles.
        clock: Unix seconds.
    """

    def __init__(
        self, config: IdentityConfig, expected: Expected | None = None, clock: Clock = time.time
    ) -> None:
        self._config, self._clock = config, clock
        self._expected = expected or Expected(config.trust_domain)
        self._current: Credentials | None = None
        self._used: Material | Problem | None = None
        #: What was looked at last, and why it is not in use.
        self._seen: Material | Problem | None = None
        self._rejected: tuple[Problem, ...] = ()
        self._ended: Problem | None = None
        self._subscribers: list[Callable[[Credentials], None]] = []
        self._reloads = {"success": 0, "error": 0}
        #: Of the server that uses this identity.
        self.handshakes = HandshakeMonitor()
        self.peers = Peers(config.trust_domain, clock)

    @classmethod
    def of(cls, config: MeshConfig, serves: bool) -> Self:
        """The identity of a member of the mesh.

        Args:
            config: Names the workload.
            serves: Whether the process is called, too: then its certificate must carry its DNS name.
        """
        own = config.identity
        workload = Workload(own.trust_domain, config.namespace, config.service)
        roles = BOTH if serves else frozenset({Role.CLIENT})
        name = config.dns_name(config.service).rstrip(".")
        return cls(own, Expected(own.trust_domain, workload, name, roles))

    @property
    def current(self) -> Credentials:
        """The last good identity. Raises IdentityError before a successful `load`."""
        if self._current is None:
            raise IdentityError("no certificate has been loaded")
        return self._current

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong now: with the identity in use first, then with the one that was not taken."""
        return ((self._ended,) if self._ended else ()) + self._rejected

    def now(self) -> float:
        """The time that certificates are compared with, in Unix seconds."""
        return self._clock()

    def load(self) -> None:
        """Read the directory now.

        Raises:
            IdentityError: one line that names the file, what is wrong with it and what to do.
        """
        look = self._look()
        assert look is not None  # nothing has been seen before
        try:
            self._current = self._usable(look)
        except IdentityError as e:
            raise self._located(e) from e
        self._seen = self._used = look.files
        self.peers.trust(self._current.bundle)

    def subscribe(self, callback: Callable[[Credentials], None]) -> Callable[[], None]:
        """Call back, on the event loop, with each new identity. Returns a function that ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback) if callback in self._subscribers else None

    def poll(self) -> bool:
        """Look once; True where a new identity was taken."""
        return self._apply(self._look())

    async def watch(self) -> None:
        """Poll until cancelled. Files are read and checked on a thread: a disk may be slow."""
        while True:
            await asyncio.sleep(self._config.poll_interval)
            self._apply(await asyncio.to_thread(self._look))
            if pending := self.peers.pending():
                await asyncio.to_thread(self.peers.verify_all, pending)
            self.peers.sweep()

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a server: each handshake takes the identity of its moment, and demands one of the client.

        To be called on the event loop, which counts the handshakes.
        """
        shown = self.current
        self.handshakes.attach()

        def fetch() -> Any:
            nonlocal shown
            self.handshakes.started()
            current = self.current
            if current is shown:
                return None  # grpc keeps what it has
            shown = current
            return current.server_configuration()

        return grpc.dynamic_ssl_server_credentials(
            shown.server_configuration(), fetch, require_client_authentication=True
        )

    def state(self) -> dict[str, Any]:
        """Return what the admin page shows, JSON-able."""
        own = self.current
        return {
            "serial": f"{own.serial:x}",
            "not_after": own.not_after,
            "workload": str(own.workload),
            "issuer": own.issuer,
            "problem": "; ".join(map(str, self.problems)),
        }

    def collect(self) -> Iterable[Metric]:
        """Lifetimes, problems and reloads, and the handshakes of the server that uses this identity."""
        yield from metrics.lifetimes(self._current)
        yield metrics.problems(self._ended, self._rejected)
        yield metrics.reloads(self._reloads)
        yield from self.handshakes.collect()

    def _look(self) -> Look | None:
        """Read the files, and check them where that may tell anything new. Touches no state."""
        files, now = read(self._config), self._clock()
        if files == self._seen and not any(p.until is not None and p.until <= now for p in self._rejected):
            return None
        if isinstance(files, Problem):
            return Look(files, Diagnosis((files,)))
        return Look(files, diagnose(files, self._expected, now))

    def _apply(self, look: Look | None) -> bool:
        self._note_end()
        if look is None:
            return False
        try:
            credentials = self._usable(look)
        except IdentityError as e:
            self._reject(look, e)
            return False
        self._seen, self._rejected = look.files, ()
        if look.files == self._used:
            return False  # what lay there in between was not taken, and is gone
        self._used = look.files
        self._take(credentials)
        return True

    def _usable(self, look: Look) -> Credentials:
        if isinstance(look.files, Problem):
            raise IdentityError(str(look.files), (look.files,))
        return Credentials.of(look.files, look.diagnosis)

    def _take(self, credentials: Credentials) -> None:
        self._current, self._ended = credentials, None
        self.peers.trust(credentials.bundle)
        self._reloads["success"] += 1
        _log.info("certificate reloaded: serial %x of %s", credentials.serial, credentials.workload)
        for callback in list(self._subscribers):
            try:
                callback(credentials)
            except Exception:  # one subscriber must not keep the others from their new certificate
                _log.exception("a subscriber to the certificate failed")

    def _reject(self, look: Look, error: IdentityError) -> None:
        """Once for each bad content, though time may make it good later."""
        if look.files != self._seen or error.problems != self._rejected:
            self._reloads["error"] += 1
            _log.warning("certificate not reloaded, the last good one stays: %s", self._located(error))
        self._seen, self._rejected = look.files, error.problems

    def _located(self, error: IdentityError) -> IdentityError:
        """The same, with the path of the file instead of its name."""
        name = error.problems[0].file
        return IdentityError(f"{located(self._config, name)}{str(error).removeprefix(name)}", error.problems)

    def _note_end(self) -> None:
        """Log, once, that the identity in use has ended."""
        own = self._current
        if own is None or self._ended or not (ended := own.ended(self._clock())):
            return
        self._ended = ended
        _log.error("the certificate in use is refused by every peer from now on: %s", ended)
