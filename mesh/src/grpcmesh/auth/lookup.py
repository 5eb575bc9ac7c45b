"""Looks up the addresses of an identity provider by the system's resolver, on threads of its own.

`getaddrinfo` cannot be cancelled, and takes minutes if no nameserver answers. On the executor of the event
loop, such lookups would hold its few threads, and the end of the process would wait for them. These threads
are daemons.
"""

import asyncio
import contextlib
import socket
import threading

from grpcmesh.auth.problems import KeyCause, KeysError

#: The most lookups at the same time. Others are refused while all of them hang.
MAX_LOOKUPS = 4

_free = threading.BoundedSemaphore(MAX_LOOKUPS)


async def look_up(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host, in the order in which to try them.

    Raises:
        socket.gaierror: There is no such name.
        KeysError: Earlier lookups hang.
    """
    if not _free.acquire(blocking=False):
        raise KeysError(KeyCause.TIMEOUT, f"{MAX_LOOKUPS} lookups of names hang: no nameserver answers")
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(result: list[str] | OSError) -> None:
        if found.done():  # nobody waits any more
            return
        if isinstance(result, OSError):
            found.set_exception(result)
        else:
            found.set_result(result)

    def work() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            result: list[str] | OSError = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as e:
            result = e
        finally:
            _free.release()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=work, name="lookup of an identity provider", daemon=True).start()
    return await found
