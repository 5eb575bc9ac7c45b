"""Resolves the database's host name, also while DNS is unavailable.

A connection pool that grows or replaces a connection asks DNS for the host again. While the cluster's DNS is
unavailable that lookup fails, although the database may be running. So the last addresses of each host are
kept and used when DNS does not answer. libpq can do without DNS through `hostaddr`; asyncpg has no such
option.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)

#: Seconds to wait for DNS where there are addresses from before.
PATIENCE = 1.0
#: Seconds to wait for an address where there is another: a host that has vanished answers nothing.
TURN = 1.0
#: Hosts whose addresses are kept.
MAX_HOSTS = 16


class Addresses:
    """A cache of the last addresses of each host, for one process. It sends one query per host at a time."""

    def __init__(self, patience: float = PATIENCE) -> None:
        """
        Args:
            patience: Seconds to wait for DNS where there are addresses from before.
        """
        self._patience = patience
        self._last: dict[tuple[str, int], list[str]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def of(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host: those that DNS returns or, if it fails, those that it returned
        last.

        Raises:
            OSError: DNS does not answer, and there is no earlier answer.
        """
        place = (host, port)
        asking = self._asking.get(place)
        # A task of another event loop, as tests have them, is of no use.
        if asking is None or asking.done() or asking.get_loop() is not asyncio.get_running_loop():
            asking = self._asking[place] = asyncio.create_task(self._ask(place), name=f"addresses of {host}")
            asking.add_done_callback(_seen)
        last = self._last.get(place)
        if last is None:
            return await asyncio.shield(asking)
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(asking)
        except (OSError, TimeoutError) as e:
            _log.warning("DNS has no answer for %s (%r): its last addresses are used", host, e)
            return last

    async def _ask(self, place: tuple[str, int]) -> list[str]:
        host, port = place
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        self._last.pop(place, None)
        self._last[place] = addresses
        while len(self._last) > MAX_HOSTS:
            self._last.pop(next(iter(self._last)))
        return addresses


def _seen(task: "asyncio.Task[list[str]]") -> None:
    """Retrieve the task's exception, so that asyncio does not report it when no caller waits for it
    any more.
    """
    if not task.cancelled():
        task.exception()


class ResolvingLoop:
    """The running event loop, for `asyncpg.connect(loop=…)`, which resolves names through `Addresses`.

    The server's certificate is still checked against the host name: asyncpg passes that name to `start_tls`.
    """

    def __init__(self, addresses: Addresses, turn: float = TURN) -> None:
        """
        Args:
            addresses: Resolves names.
            turn: Seconds to wait for an address before the next one is tried.
        """
        self._addresses, self._turn = addresses, turn

    async def create_connection(
        self, factory: Callable[[], Any], host: str | None = None, port: int | None = None, **options: Any
    ) -> Any:
        """Connect like `loop.create_connection`, to the first of the host's addresses that answers."""
        loop = asyncio.get_running_loop()
        if not host or not port:  # a socket that is connected already
            return await loop.create_connection(factory, **options)
        if options.get("ssl"):  # `sslnegotiation=direct`: else the address would be checked, not the name
            options.setdefault("server_hostname", host)
        problems: list[OSError] = []
        *others, last = await self._addresses.of(host, port)
        for address in (*others, last):
            try:
                # The last one may take as long as the driver lets it.
                async with asyncio.timeout(None if address is last else self._turn):
                    return await loop.create_connection(factory, address, port, **options)
            except OSError as e:  # a TimeoutError is one
                problems.append(e)
        raise problems[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)


#: The loop that all connections of this process share.
LOOP = ResolvingLoop(Addresses())
