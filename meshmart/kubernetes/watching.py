"""Keeps copies of a release's objects up to date by watches, for those who look several times a second.

A watch costs the API server a request in half a minute, however often the copies are read
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Self

from local.errors import ClusterError
from meshmart.kubernetes import objects
from meshmart.kubernetes.api import Api, ApiError, Object

#: Seconds after which a watch is opened anew: a connection that died without a word is found by then.
WATCH = 30
#: The least seconds between two requests for one kind of object.
PAUSE = 0.5
#: The longest pause after failures, in seconds.
MAX_PAUSE = 15.0
#: HTTP status of a watch from a version that the API server has forgotten.
_GONE = 410
#: What is watched: kinds of objects and their selectors.
KINDS = {"deployments": objects.SERVICES, "pods": objects.SERVICES, "services": objects.PART_OF}


class Copy:
    """The objects of one kind.

    Args:
        api: The API of the namespace.
        kind: The kind, such as `pods`.
        selector: A label selector.
    """

    def __init__(self, api: Api, kind: str, selector: str) -> None:
        self._api, self._kind, self._selector = api, kind, selector
        self._known: dict[str, Object] = {}
        self._listed = asyncio.Event()
        self._problem: ClusterError | None = None

    async def read(self) -> Sequence[Object]:
        """Return the objects. Waits for the first answer of the API server.

        Raises:
            ClusterError: the API server does not answer now, or refuses.
        """
        await self._listed.wait()
        if self._problem:
            raise self._problem
        return list(self._known.values())

    async def run(self) -> None:
        """List and watch until cancelled. After a failure, begin again."""
        failures = 0
        while True:
            try:
                await self._follow()
                failures = 0
            except ClusterError as e:
                self._problem, failures = e, failures + 1
                self._listed.set()
            await asyncio.sleep(min(PAUSE * 2.0 ** min(failures, 10), MAX_PAUSE))

    async def _follow(self) -> None:
        """List the objects and follow their changes, until a watch fails. Raises what the list raises."""
        found, version = await self._api.snapshot(self._kind, self._selector)
        self._known = {objects.name(one): _slim(one) for one in found}
        self._problem = None
        self._listed.set()
        while version:
            try:
                version = await self._watch(version)
            except ClusterError:
                return
            await asyncio.sleep(PAUSE)

    async def _watch(self, version: str) -> str:
        """Apply changes until the server ends the watch. Return the version up to which they are known."""
        changes = self._api.watch(self._kind, self._selector, version, WATCH)
        async with contextlib.aclosing(changes):  # type: ignore[type-var]
            async for change in changes:
                version = self.apply(change)
        return version

    def apply(self, change: Object) -> str:
        """Apply one change and return its version.

        Raises:
            ApiError: the watch cannot go on.
        """
        one = change["object"]
        if change["type"] == "ERROR":
            raise ApiError(int(one.get("code", _GONE)), str(one.get("message", "the watch failed")))
        if change["type"] in ("ADDED", "MODIFIED"):
            self._known[objects.name(one)] = _slim(one)
        elif change["type"] == "DELETED":
            self._known.pop(objects.name(one), None)
        return str(one["metadata"]["resourceVersion"])


class Copies:
    """The Deployments, pods and Services of a release. The watches run inside its context."""

    def __init__(self, api: Api) -> None:
        self._copies = {kind: Copy(api, kind, selector) for kind, selector in KINDS.items()}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(c.run(), name=f"watch-{kind}") for kind, c in self._copies.items()]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def read(self, kind: str) -> Sequence[Object]:
        """Return the objects of a kind.

        Raises:
            ClusterError: the API server does not answer now, or refuses.
        """
        for task in self._tasks:
            if task.done():
                task.result()  # it never returns, so it has failed
        return await self._copies[kind].read()


def _slim(one: Object) -> Object:
    """Return an object without what nobody reads and takes the most room."""
    metadata = {key: value for key, value in one["metadata"].items() if key != "managedFields"}
    return {**one, "metadata": metadata}
