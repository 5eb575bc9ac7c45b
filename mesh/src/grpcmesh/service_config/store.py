"""Holds the service configs from the code, a file that is polled for changed content, and the environment."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.config import ConfigError
from grpcmesh.service_config.model import ServiceConfig
from grpcmesh.service_config.parse import MAX_BYTES
from grpcmesh.service_config.sources import Document, Effective, effective, read_document

_log = logging.getLogger(__name__)

Subscriber = Callable[[Effective], None]


class ServiceConfigStore:
    """Holds the settings of each target, and reloads them when the file changes. A bad file changes nothing.

    Args:
        file: A JSON file that maps targets to service configs, or None.
        inline: The same JSON as text, from the environment; empty if there is none.
        code: Service configs by target, from the application's code.
        poll_interval: Seconds between two looks at the file.
    """

    def __init__(
        self,
        file: Path | None = None,
        inline: str = "",
        code: Mapping[str, ServiceConfig] | None = None,
        poll_interval: float = 1.0,
    ) -> None:
        self._file, self._inline, self._poll_interval = file, inline, poll_interval
        self._code = Document("the code", dict(code or {}))
        self._documents: tuple[Document, ...] = (self._code,)
        self._seen: bytes | None = None
        #: The problems of the file as it is now. If there are any, the settings in force are older.
        self.problems: list[str] = []
        self._reloads = {"success": 0, "error": 0}
        self._subscribers: list[tuple[str, Subscriber]] = []

    def load(self) -> None:
        """Read all sources now.

        Raises:
            ConfigError: The file or the environment has mistakes. The error has a line for each.
        """
        problems: list[str] = []
        documents: list[Document] = []
        for read in (self._from_environment, self._from_file):
            try:
                documents += read()
            except ConfigError as e:
                problems += e.problems
        if problems:
            raise ConfigError(problems)
        self._documents = (*documents, self._code)

    def effective(self, target: str) -> Effective:
        """Return the settings in force for a target, and their sources."""
        return effective(target, self._documents)

    def subscribe(self, target: str, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` with the settings of a target each time they change.

        Returns:
            A function that cancels the subscription.
        """
        entry = (target, callback)
        self._subscribers.append(entry)
        return lambda: self._subscribers.remove(entry) if entry in self._subscribers else None

    def poll(self) -> bool:
        """Look at the file once. Return whether new settings are in force. A bad file is logged once."""
        if self._file is None:
            return False
        before = self._documents
        try:
            if self._content(self._file) == self._seen:
                return False
            self.load()
        except ConfigError as e:
            if e.problems != self.problems:
                self.problems = e.problems
                self._reloads["error"] += 1
                for problem in e.problems:
                    _log.error("service config not reloaded, the last good one stays: %s", problem)
            return False
        self.problems = []
        self._reloads["success"] += 1
        _log.info("service config reloaded from %s", self._file)
        self._tell(before)
        return True

    async def watch(self) -> None:
        """Poll the file until cancelled."""
        while True:
            await asyncio.sleep(self._poll_interval)
            self.poll()

    def collect(self) -> Iterable[Metric]:
        reloads = CounterMetricFamily(
            "mesh_service_config_reloads", "Changes of the service config file, by result.", labels=["result"]
        )
        for result, count in self._reloads.items():
            reloads.add_metric([result], count)
        yield reloads

    def _tell(self, before: tuple[Document, ...]) -> None:
        for target, callback in list(self._subscribers):
            now = self.effective(target)
            if now != effective(target, before):
                callback(now)

    def _from_environment(self) -> list[Document]:
        return [read_document(self._inline, "MESH_SERVICE_CONFIG_INLINE")] if self._inline else []

    def _from_file(self) -> list[Document]:
        if self._file is None:
            return []
        content = self._content(self._file)
        self._seen = content  # also if it is bad: it is reported once, not at each poll
        return [read_document(content, str(self._file))]

    def _content(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)  # one more: what is too large is seen to be
        except OSError as e:
            self._seen = None  # once the file is back it is read again, whatever it holds
            raise ConfigError([f"{path}: {e.strerror or e}"]) from e
