"""The certificate directory, polled by content: the last good identity is served, whatever lies there now."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.config import IdentityConfig
from grpcmesh.identity.credentials import Credentials, IdentityError
from grpcmesh.identity.handshakes import HandshakeMonitor

_log = logging.getLogger(__name__)


class IdentityStore:
    """The identity of this process, fresh.

    The content is polled, not watched: inotify misses the kubelet's symlink swap on some mounts. What
    is half-written, mismatched, expired or anonymous is tried again at the next poll, and never served.
    """

    def __init__(self, config: IdentityConfig) -> None:
        self._config = config
        self._current: Credentials | None = None
        self._seen: tuple[bytes, bytes, bytes] | None = None
        self._bad: object = None
        self._subscribers: list[Callable[[Credentials], None]] = []
        self._reloads = {"success": 0, "error": 0}
        self.handshakes = HandshakeMonitor()

    @property
    def current(self) -> Credentials:
        """The last good identity. Raises IdentityError before a successful `load`."""
        if self._current is None:
            raise IdentityError("no certificate has been loaded")
        return self._current

    def load(self) -> None:
        """Reads the directory now.

        Raises:
            IdentityError: one line that names the file and what is wrong with it.
        """
        content = self._read()
        self._current, self._seen = self._parse(content), content

    def subscribe(self, callback: Callable[[Credentials], None]) -> Callable[[], None]:
        """Calls back, on the event loop, with each new identity. Returns what ends the subscription."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback) if callback in self._subscribers else None

    def poll(self) -> bool:
        """Looks once; True where a new identity was taken."""
        content: tuple[bytes, bytes, bytes] | None = None
        try:
            content = self._read()
            if content == self._seen:
                return False
            credentials = self._parse(content)
        except IdentityError as e:
            self._tell(e, content)
            return False
        self._current, self._seen, self._bad = credentials, content, None
        self._reloads["success"] += 1
        _log.info("certificate reloaded: serial %x of %s", credentials.serial, credentials.workload)
        for callback in list(self._subscribers):
            callback(credentials)
        return True

    async def watch(self) -> None:
        """Polls until cancelled."""
        while True:
            await asyncio.sleep(self._config.poll_interval)
            self.poll()

    def server_credentials(self) -> grpc.ServerCredentials:
        """Each handshake takes the identity of its moment, and demands one of the client.

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

    def collect(self) -> Iterable[Metric]:
        """Lifetime and reloads, and the handshakes of the server that uses this identity."""
        begin = GaugeMetricFamily(
            "mesh_certificate_not_before_timestamp_seconds",
            "When the certificate in use begins (Unix seconds).",
        )
        expiry = GaugeMetricFamily(
            "mesh_certificate_expiry_timestamp_seconds", "When the certificate in use ends (Unix seconds)."
        )
        if self._current:
            begin.add_metric([], self._current.not_before)
            expiry.add_metric([], self._current.not_after)
        reloads = CounterMetricFamily(
            "mesh_certificate_reloads", "Changes of the certificate directory, by result.", labels=["result"]
        )
        for result, count in self._reloads.items():
            reloads.add_metric([result], count)
        return [begin, expiry, reloads, *self.handshakes.collect()]

    def _tell(self, error: IdentityError, content: object) -> None:
        """Once for each bad content, though it is tried at each poll: time may make it good."""
        bad = content or str(error)
        if bad != self._bad:
            self._bad = bad
            self._reloads["error"] += 1
            _log.warning("certificate not reloaded, the last good one stays: %s", error)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        directory = self._config.directory
        bundle = self._config.bundle or directory / "ca.crt"
        return _bytes(directory / "tls.crt"), _bytes(directory / "tls.key"), _bytes(bundle)

    def _parse(self, content: tuple[bytes, bytes, bytes]) -> Credentials:
        try:
            credentials = Credentials.parse(*content)
        except IdentityError as e:
            raise IdentityError(f"{self._config.directory}: {e}") from e
        if credentials.workload.trust_domain != self._config.trust_domain:
            raise IdentityError(
                f"{self._config.directory}: tls.crt: {credentials.workload} is not of the trust domain "
                f"{self._config.trust_domain}"
            )
        return credentials


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise IdentityError(f"{path}: {e.strerror or e}") from e
