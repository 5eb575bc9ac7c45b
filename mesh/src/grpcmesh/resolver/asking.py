"""Asks nameservers a question until one answers: one after another, in several rounds."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from grpcmesh.resolver.answers import Answer
from grpcmesh.resolver.exchange import QueryError, query
from grpcmesh.resolver.nameservers import Directory, Nameserver, tries
from grpcmesh.resolver.wire import Question

#: The most nameservers with a label of their own in the metric. resolv.conf may change often.
_MOST_LABELS = 16

Query = Callable[[Nameserver, Question, bool], Awaitable[Answer]]
_Running = dict["asyncio.Task[Answer]", Nameserver]


class LookupFailedError(Exception):
    """Raised if DNS gave no answer. `result` is `timeout` or `error`."""

    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.result = result


class Asking:
    """Asks the nameservers a question.

    If a nameserver has not answered within `interval`, the next one is asked as well, and the first answer
    counts. So a lost datagram, a dead server or a slow server delays the answer only by one interval.

    Args:
        directory: Holds the nameservers.
        interval: Seconds until the next nameserver is asked. resolv.conf's `options timeout:` overrides it.
            It is shorter where not all nameservers could be asked within the time of a look-up.
        ask: Asks one nameserver.
    """

    def __init__(self, directory: Directory, interval: float, ask: Query = query) -> None:
        self._directory, self._interval, self._ask = directory, interval, ask
        self._turn = 0
        #: Queries by nameserver and result: `answered`, `error`, `unanswered`.
        self.queries: Counter[tuple[str, str]] = Counter()

    async def __call__(self, question: Question, timeout: float) -> Answer:
        """Return the first answer.

        Raises:
            LookupFailedError: No answer came within `timeout` seconds, or every nameserver failed.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        servers = self._directory.current()
        # Short enough that each one is asked, and a single one twice, with time left for the last answer.
        interval = min(servers.timeout or self._interval, timeout / max(2, len(servers.servers)))
        failures: dict[Nameserver, str] = {}
        running: _Running = {}
        try:
            for server, patience in tries(
                self._order(servers.servers, servers.rotate), interval, servers.attempts, timeout
            ):
                if server in failures:
                    continue
                running[loop.create_task(_asked(self._ask(server, question, servers.tcp)))] = server
                answer = await self._first(running, failures, min(loop.time() + patience, until))
                if answer is not None:
                    return answer
            while running and loop.time() < until:
                answer = await self._first(running, failures, until)
                if answer is not None:
                    return answer
        finally:
            await self._end(running)
        raise _failed(question, list(servers.servers), failures)

    def _order(self, servers: Sequence[Nameserver], rotate: bool) -> list[Nameserver]:
        self._turn += 1
        first = self._turn % len(servers) if rotate else 0
        return [*servers[first:], *servers[:first]]

    async def _first(self, running: _Running, failures: dict[Nameserver, str], until: float) -> Answer | None:
        """Return the first answer, or None if a nameserver failed, or none answered in time."""
        loop = asyncio.get_running_loop()
        done, _ = await asyncio.wait(
            running, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            server = running.pop(task)
            try:
                answer = task.result()
            except QueryError as e:
                failures[server] = str(e)
                self._count(server, "error")
            else:
                self._count(server, "answered")
                return answer
        return None

    async def _end(self, running: _Running) -> None:
        for task, server in running.items():
            task.cancel()
            self._count(server, "unanswered")
        # Also asks for the errors of those that failed meanwhile.
        await asyncio.gather(*running, return_exceptions=True)

    def _count(self, server: Nameserver, result: str) -> None:
        label = str(server)
        if len(self.queries) >= 3 * _MOST_LABELS and (label, result) not in self.queries:
            label = "other"
        self.queries[label, result] += 1


async def _asked(answer: Awaitable[Answer]) -> Answer:
    return await answer


def _failed(
    question: Question, servers: list[Nameserver], failures: dict[Nameserver, str]
) -> LookupFailedError:
    told = ", ".join(f"{server} {failures.get(server, 'did not answer')}" for server in servers)
    result = "error" if len(failures) == len(set(servers)) else "timeout"
    return LookupFailedError(result, f"{question}: no answer from DNS: {told}")
