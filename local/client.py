"""The client of the control socket."""

import asyncio
import json
from pathlib import Path
from typing import Any

from local.errors import ClusterError
from local.events import Report
from local.state import StateDir, holder
from local.tasks import until

_CONNECT_TIMEOUT = 5.0
_SILENCE = 180.0
_GONE = 10.0
_POLL = 0.02


def _quiet(_: str) -> None:
    return


class ControlClient:
    """Talks to the supervisor of a state directory.

    Args:
        directory: The state directory.
    """

    def __init__(self, directory: Path) -> None:
        self.state = StateDir(directory)

    async def request(self, verb: str, report: Report = _quiet, **arguments: Any) -> Any:
        """Make one request and return its result.

        Args:
            verb: `status`, `environment`, `scale`, `restore`, `renew`, `restart`, `kill`, `pause`, `resume`,
                `rotate`, `break_dns`, `mend_dns` or `down`.
            report: Called with each line of progress.
            arguments: The arguments of the verb.

        Raises:
            ClusterError: no cluster runs, it does not answer, or the request failed.
        """
        reader, writer = await self._connect()
        try:
            writer.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            await writer.drain()
            return await self._result(reader, report)
        except (OSError, ValueError) as e:
            raise ClusterError(f"the supervisor went away in the middle: {e}") from e
        finally:
            writer.close()

    async def down(self, report: Report = _quiet) -> None:
        """Stop the cluster. Returns when its supervisor has ended, too.

        Raises:
            ClusterError: no cluster runs, or the supervisor does not end.
        """
        await self.request("down", report)
        try:
            async with asyncio.timeout(_GONE):
                await until(self._is_gone, _POLL)
        except TimeoutError as e:
            raise ClusterError("every replica is down, but the supervisor is still there") from e

    async def _is_gone(self) -> bool:
        return holder(self.state) is None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        pid = holder(self.state)
        if pid is None:
            raise ClusterError(f"no cluster is running in {self.state.path}; meshmart up starts one")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                return await asyncio.open_unix_connection(self.state.socket, limit=1024 * 1024)
        except (OSError, TimeoutError) as e:
            raise ClusterError(
                f"the supervisor (pid {pid}) does not take requests: it is starting, or hangs"
            ) from e

    async def _result(self, reader: asyncio.StreamReader, report: Report) -> Any:
        while True:
            try:
                async with asyncio.timeout(_SILENCE):
                    line = await reader.readline()
            except TimeoutError as e:
                raise ClusterError(f"the supervisor has been silent for {_SILENCE:.0f} s") from e
            if not line:
                raise ClusterError("the supervisor ended in the middle")
            message = json.loads(line)
            if "progress" in message:
                report(message["progress"])
            elif "error" in message:
                raise ClusterError(message["error"], message.get("detail", ""))
            else:
                return message["result"]
