"""Polls the policy file for changed content. The last good policy stays in force if the file is bad."""

import asyncio
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.authz.policy import Policy, PolicyError, UserRule
from grpcmesh.bad_values import bad_values
from grpcmesh.call import Method
from grpcmesh.config import AuthzConfig

#: The most bytes of a policy file. It is bounded because the file is read on the event loop.
MAX_FILE = 256 * 1024

_log = logging.getLogger(__name__)


class PolicyStore:
    """Holds the policy in force. Without a file, every call is denied.

    Args:
        config: The policy file, and the interval in seconds at which it is polled.
    """

    def __init__(self, config: AuthzConfig) -> None:
        self._config = config
        self._seen: bytes | None = None
        self._problem = ""
        self._rules: dict[str, UserRule] = {}
        self._reloads = {"success": 0, "error": 0}
        self.current = Policy()
        #: Incremented with each new policy. Decisions cached under an older one are void.
        self.generation = 0

    def load(self) -> None:
        """Read the file now.

        Raises:
            PolicyError: The file cannot be read or is wrong. The message names the file and the entry.
        """
        if self._config.policy_file is not None:
            self._take(_read(self._config.policy_file))

    def poll(self) -> bool:
        """Look at the file once. Return whether a new policy is in force.

        A bad file is counted and logged once, not at each poll.
        """
        if self._config.policy_file is None:
            return False
        try:
            content = _read(self._config.policy_file)
            if content == self._seen:
                return False
            if not content.strip():
                # Rather one that is being written than one that means to deny everything.
                raise PolicyError(f"{self._config.policy_file}: empty; to deny everything write allow = []")
            self._take(content)
        except PolicyError as e:
            if str(e) != self._problem:  # a bad file is reported once, not at each poll
                self._problem = str(e)
                self._reloads["error"] += 1
                _log.error("policy not reloaded, the last good one stays: %s", e)
            return False
        self._problem = ""
        self._reloads["success"] += 1
        _log.info("policy reloaded, generation %d", self.generation)
        return True

    def user_rule(self, method: Method) -> UserRule:
        """Return the rule that the policy in force has for the method's user."""
        rule = self._rules.get(method.path)
        if rule is None:
            rule = self._rules[method.path] = self.current.user_rule(method)  # of this server: few
        return rule

    async def watch(self) -> None:
        """Poll the file until cancelled."""
        while True:
            await asyncio.sleep(self._config.poll_interval)
            self.poll()

    def collect(self) -> Iterable[Metric]:
        reloads = CounterMetricFamily(
            "mesh_policy_reloads", "Changes of the policy file, by result.", labels=["result"]
        )
        for result, count in self._reloads.items():
            reloads.add_metric([result], count)
        yield reloads

    def _take(self, content: bytes) -> None:
        self._seen = content  # also if it is bad: it is reported once, not at each poll
        try:
            policy = Policy.parse(content.decode())
        except (PolicyError, UnicodeDecodeError) as e:
            bad_values.count("policy")
            raise PolicyError(f"{self._config.policy_file}: {e}") from e
        self.current = policy
        self._rules.clear()
        self.generation += 1


def _read(path: Path) -> bytes:
    """Return the content of a regular file, as it was at one moment.

    Other kinds of file are refused, because reading them could block.

    Raises:
        PolicyError: The file is not regular, too large, being written, or cannot be read.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise PolicyError(f"{path}: not a regular file")
            content = file.read(MAX_FILE + 1)
            after = os.fstat(file.fileno())
    except OSError as e:
        raise PolicyError(f"{path}: {e.strerror or e}") from e
    if len(content) > MAX_FILE:
        raise PolicyError(f"{path}: larger than {MAX_FILE} bytes")
    if len(content) != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise PolicyError(f"{path}: is being written")
    return content
