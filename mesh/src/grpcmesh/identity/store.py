"""Polls the certificate directory for changed content. If files are bad, the last good identity stays."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import grpc
from prometheus_client import Metric

from grpcmesh.call import Workload
from grpcmesh.clock import Clock
from grpcmesh.config import IdentityConfig, MeshConfig
from grpcmesh.identity import bundles, metrics
from grpcmesh.identity.credentials import Credentials, IdentityError
from grpcmesh.identity.diagnosis import Diagnosis, diagnose
from grpcmesh.identity.files import located, read, with_bundles
from grpcmesh.identity.handshakes import HandshakeMonitor
from grpcmesh.identity.leaf import BOTH, Expected, Role
from grpcmesh.identity.material import Material
from grpcmesh.identity.old_tls import require_tls13
from grpcmesh.identity.peers import Peers
from grpcmesh.identity.problems import Cause, Problem
from grpcmesh.identity.workload_api import WorkloadApi

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """The files of the directory at one look, and the problems found in them."""

    files: Material | Problem
    diagnosis: Diagnosis


def expected_of(config: MeshConfig, serves: bool) -> Expected:
    """Return the requirements on the certificate of a member of the mesh. `serves`: see `of`."""
    domain = config.identity.trust_domain
    pattern = config.identity.spiffe_id
    workload = None if pattern else Workload(domain, config.namespace, config.service)
    roles = BOTH if serves else frozenset({Role.CLIENT})
    return Expected(domain, workload, config.own_name, roles, pattern)


class IdentityStore:
    """Holds the current identity of this process.

    The content is polled, because inotify misses the kubelet's symlink swap on some mounts. A new identity is
    used only if a handshake with it would succeed (`diagnose`). Otherwise the last good one stays, and the
    cause is logged once, counted and shown. The files are checked again when they change, or when the problem
    ends with time.

    Args:
        config: Location of the files, and the poll interval in seconds.
        expected: The requirements on the certificate. By default any workload of the trust domain, for both
            roles.
        clock: Returns unix seconds.
        source: Returns the certificates, in place of the files. If it raises, they cannot be read.
    """

    def __init__(
        self,
        config: IdentityConfig,
        expected: Expected | None = None,
        clock: Clock = time.time,
        source: Callable[[], Material] | None = None,
    ) -> None:
        self._source = source
        #: Gives the certificates, if they come from there. Its `first` and `watch` have to be awaited.
        self.workload_api: WorkloadApi | None = None
        self._config, self._clock = config, clock
        self._expected = expected or Expected(config.trust_domain)
        self._current: Credentials | None = None
        self._used: Material | Problem | None = None
        #: The files at the last look, and why they are not in use.
        self._seen: Material | Problem | None = None
        self._rejected: tuple[Problem, ...] = ()
        self._ended: Problem | None = None
        self._subscribers: list[Callable[[Credentials], None]] = []
        self._reloads = {"success": 0, "error": 0}
        #: The handshakes and peers of the server that uses this identity.
        self.handshakes = HandshakeMonitor()
        self.peers = Peers(config.trust_domain, clock)

    @classmethod
    def of(cls, config: MeshConfig, serves: bool, source: Callable[[], Material] | None = None) -> Self:
        """Return the identity store of a member of the mesh.

        Args:
            config: Settings of the process, which name its workload.
            serves: Whether the process is also a server. If so, its certificate must carry its DNS name.
            source: See `IdentityStore`.
        """
        expected, api = expected_of(config, serves), None
        if source is None and config.identity.endpoint_socket:
            api = WorkloadApi(config.identity.endpoint_socket, expected.spiffe_id or str(expected.workload))
            source = api.material
        store = cls(config.identity, expected, source=source)
        store.workload_api = api
        return store

    @property
    def current(self) -> Credentials:
        """Return the last good identity. Raises IdentityError before a successful `load`."""
        if self._current is None:
            raise IdentityError("no certificate has been loaded")
        return self._current

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return the current problems: first of the identity in use, then of a new one that was rejected."""
        return ((self._ended,) if self._ended else ()) + self._rejected

    def now(self) -> float:
        """Return the time that certificates are compared with, in unix seconds."""
        return self._clock()

    def load(self) -> None:
        """Read the directory now. Repeated, it also takes a new identity at once, without waiting for a poll.

        Raises:
            IdentityError: The identity is not usable, or this process would take a TLS below 1.3. The message
                is one line that names the file or the variable, what is wrong with it and what to do.
        """
        require_tls13()
        self._require_usable()

    def require_server(self) -> None:
        """Require from now on that the certificate is also good for a server: its DNS name and its usage.

        Raises:
            IdentityError: It is not. The message is as that of `load`.
        """
        self._expected = replace(self._expected, roles=BOTH)
        self._require_usable()

    def _require_usable(self) -> None:
        """Check the files anew, and use them if they are not in use. Raises IdentityError."""
        self._seen = None
        look = self._look()
        assert look is not None  # nothing counts as seen
        try:
            credentials = self._usable(look)
        except IdentityError as e:
            raise self._located(e) from e
        self._seen, self._rejected = look.files, ()
        if look.files == self._used:
            return
        self._used = look.files
        if self._current is not None:
            self._take(credentials)
            return
        self._current = credentials
        bundles.tell_unusable(self._used, credentials.bundles)
        self.peers.trust(credentials.bundle, credentials.federated)

    def subscribe(self, callback: Callable[[Credentials], None]) -> Callable[[], None]:
        """Call `callback`, on the event loop, with each new identity. Return a function that cancels that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback) if callback in self._subscribers else None

    def poll(self) -> bool:
        """Look at the files once. Return whether a new identity is in use."""
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
        """Return credentials for a server, with which each handshake uses the identity of that moment.

        Clients have to present a certificate. Call it on the event loop, which counts the handshakes.
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
        """Return the state that the admin page shows, as values that JSON can encode."""
        own = self.current
        return {
            "serial": f"{own.serial:x}",
            "not_after": own.not_after,
            "workload": str(own.workload),
            "issuer": own.issuer,
            "problem": "; ".join(map(str, self.problems)),
        }

    def collect(self) -> Iterable[Metric]:
        """Yield metrics of lifetimes, problems, reloads and handshakes."""
        yield from metrics.lifetimes(self._current)
        yield metrics.problems(self._ended, self._rejected)
        yield metrics.reloads(self._reloads)
        yield from self.handshakes.collect()

    def _look(self) -> Look | None:
        """Read the files, and check them if they or the result may have changed. Changes no state."""
        files, now = self._read(), self._clock()
        if files == self._seen and not any(p.until is not None and p.until <= now for p in self._rejected):
            return None
        if isinstance(files, Problem):
            return Look(files, Diagnosis((files,)))
        return Look(files, diagnose(files, self._expected, now))

    def _read(self) -> Material | Problem:
        if self._source is None:
            return read(self._config)
        try:
            return with_bundles(self._config, self._source())
        except IdentityError as e:
            return Problem(Cause.UNREADABLE, "tls.crt", str(e))
        except Exception as e:  # of the application: the last good identity stays, whatever it raises
            return Problem(Cause.UNREADABLE, "tls.crt", f"the source of certificates failed: {e!r}")

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
        self.peers.trust(credentials.bundle, credentials.federated)
        self._reloads["success"] += 1
        _log.info("certificate reloaded: serial %x of %s", credentials.serial, credentials.workload)
        bundles.tell_unusable(self._used, credentials.bundles)
        for callback in list(self._subscribers):
            try:
                callback(credentials)
            except Exception:  # one subscriber must not keep the others from their new certificate
                _log.exception("a subscriber to the certificate failed")

    def _reject(self, look: Look, error: IdentityError) -> None:
        """Log and count a rejected identity, once for each content and set of problems."""
        if look.files != self._seen or error.problems != self._rejected:
            self._reloads["error"] += 1
            _log.warning("certificate not reloaded, the last good one stays: %s", self._located(error))
        self._seen, self._rejected = look.files, error.problems

    def _located(self, error: IdentityError) -> IdentityError:
        """Return the error with the path of the file in place of its name."""
        if self._source is not None:
            return error
        name = error.problems[0].file
        text = f"{located(self._config, name)}{str(error).removeprefix(name)}"
        if self._config.directory == IdentityConfig.directory and not self._config.directory.exists():
            text += (
                "; set MESH_IDENTITY_DIRECTORY (for development: `python -m grpcmesh ca` makes certificates)"
            )
        return IdentityError(text, error.problems)

    def _note_end(self) -> None:
        """Log, once, that the identity in use has ended."""
        own = self._current
        if own is None or self._ended or not (ended := own.ended(self._clock())):
            return
        self._ended = ended
        _log.error("the certificate in use is refused by every peer from now on: %s", ended)
