"""Reads pages of a replica's admin port over HTTP, bounded in time and size, with a token if there is one.

`fetch` is for an event loop. The other functions are blocking: call them with `asyncio.to_thread`.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from grpcmesh.admin.access import read_token
from local.errors import NoAnswerError

_TIMEOUT = 5.0
#: The largest page and the longest header that are read, in bytes. A page of the shop has some 100 kB.
MAX_PAGE, MAX_HEAD = 8 * 1024 * 1024, 16 * 1024
_CHUNK = 64 * 1024
#: The variable that names the file with the admin ports' token, as for the replicas themselves.
TOKEN_FILE = "MESH_ADMIN_TOKEN_FILE"


class Pages:
    """The pages of one admin port, over one connection at a time that is kept open.

    Args:
        host: Its host.
        port: Its port.
        token_file: The file with the bearer token; None sends none.
        most: The largest page in bytes.
    """

    def __init__(self, host: str, port: int, token_file: Path | None = None, most: int = MAX_PAGE) -> None:
        self._host, self._port, self._token_file, self._most = host, port, token_file, most
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._connection: h11.Connection | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._token = ""

    async def get(self, path: str, timeout: float) -> str:
        """Return a page.

        Args:
            path: Its path and query.
            timeout: Seconds for everything.

        Raises:
            NoAnswerError: it does not answer in time, or not with such a page.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._get(path)
        except TimeoutError:
            raise self._failed(path, f"not within {timeout:g} s") from None
        except (OSError, h11.ProtocolError, EOFError) as e:
            raise self._failed(path, str(e)) from e
        finally:
            if self._connection is None or self._connection.our_state is not h11.IDLE:
                self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection = None
            self._writer.transport.abort()

    async def _get(self, path: str) -> str:
        if self._connection is not None:
            # The server may have closed a connection that was kept, so that a failure says nothing.
            with suppress(OSError, h11.ProtocolError, EOFError):
                return await self._exchange(self._connection, path)
            self.close()
        if self._token_file is not None:
            self._token = await asyncio.to_thread(read_token, self._token_file)
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=_CHUNK)
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        return await self._exchange(self._connection, path)

    async def _exchange(self, connection: h11.Connection, path: str) -> str:
        headers = [("host", self._authority), ("accept-encoding", "identity")]
        if self._token:
            headers.append(("authorization", f"Bearer {self._token}"))
        request = h11.Request(method="GET", target=path, headers=headers)
        self._writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                if event.status_code != 200:
                    raise OSError(f"it answers with the status {event.status_code}")
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._most:
                    raise OSError(f"it answers with more than {self._most} bytes")
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                raise EOFError("the connection ended before the answer")
        with suppress(h11.ProtocolError):  # the server wants to close: `get` does
            connection.start_next_cycle()
        return body.decode(errors="replace")

    def _failed(self, path: str, why: str) -> NoAnswerError:
        # Without the query: that of a Prometheus takes several lines.
        return NoAnswerError(f"no answer from http://{self._authority}{path.partition('?')[0]}: {why}")


def pages(url: str, **settings: Any) -> tuple[Pages, str]:
    """Return the admin port of a URL, and the URL's path and query. `settings` are those of `Pages`.

    Raises:
        NoAnswerError: it is no URL of an admin port.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise NoAnswerError(f"{url!r} is not the URL of an admin port")
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    return Pages(parts.hostname, parts.port, token_file(), **settings), path


def token_file() -> Path | None:
    """Return the file with the token of admin ports, if this process was told of one."""
    path = os.environ.get(TOKEN_FILE, "")
    return Path(path) if path else None


async def fetch(url: str, timeout: float = _TIMEOUT) -> str:
    """Return a page.

    Raises:
        NoAnswerError: it does not answer within `timeout` seconds, or not with such a page.
    """
    port, path = pages(url)
    try:
        return await port.get(path, timeout)
    finally:
        port.close()


def samples(url: str) -> Sequence[Sample]:
    """Return every sample of a metrics page.

    Raises:
        NoAnswerError: it does not answer.
    """
    return [s for family in text_string_to_metric_families(_fetch(url)) for s in family.samples]


def sample(url: str, name: str) -> float | None:
    """Return the value of a metric without labels; None if the page does not have it.

    Raises:
        NoAnswerError: it does not answer.
    """
    return values(url, name).get(name)


def values(url: str, *names: str) -> Mapping[str, float]:
    """Return the values of metrics without labels, by name, as far as the page has them.

    Raises:
        NoAnswerError: it does not answer.
    """
    # A hundredth of the work of parsing the whole page.
    wanted = "|".join(map(re.escape, names))
    found = re.findall(rf"^({wanted}) (\S+)$", _fetch(url), re.MULTILINE)
    return {name: float(value) for name, value in found}


def document(url: str) -> Any:
    """Return a page of JSON.

    Raises:
        NoAnswerError: it does not answer.
    """
    return json.loads(_fetch(url))


def _fetch(url: str) -> str:
    return asyncio.run(fetch(url))
