"""Follows the SPIFFE Workload API, which sends a new identity before the old one ends.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md
"""

import asyncio
import contextlib
import logging
import random

import grpc
from google.protobuf.message import DecodeError

from grpcmesh.backoff import Backoff
from grpcmesh.identity.material import Material
from grpcmesh.identity.problems import IdentityError
from grpcmesh.identity.svid import SvidError, material_of
from grpcmesh.identity.workload_api_pb2 import X509SvidRequest, X509SvidResponse

_METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
#: Proves that the request was not made by a browser or proxy that somebody tricked (Workload Endpoint, 3).
_METADATA = (("workload.spiffe.io", "true"),)
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.default_authority", "localhost"),
)
#: Bounds of the wait before the next try, in seconds.
_FIRST, _LONGEST = 0.2, 10.0
#: The most characters of an agent's text in a message.
_MOST_TEXT = 200

_log = logging.getLogger(__name__)


class WorkloadApi:
    """Holds the last identity that the Workload API has sent. `watch` follows it.

    Args:
        socket: The address, `unix:///run/spire/agent.sock`.
        wanted: The SPIFFE id of this process, or a pattern: which identity is taken if there are several.
    """

    def __init__(self, socket: str, wanted: str) -> None:
        self.socket, self._wanted = socket, wanted
        self._last: Material | None = None
        #: Why there is no newer identity; empty while the agent answers.
        self.problem = ""

    def material(self) -> Material:
        """Return the last identity. Raises IdentityError if there is none yet."""
        if self._last is None:
            raise IdentityError(self.problem or f"the SPIFFE Workload API at {self.socket} has not answered")
        return self._last

    async def first(self, timeout: float) -> None:
        """Wait for an identity, if there is none yet.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            IdentityError: There is none. The message says why.
        """
        backoff = Backoff(_FIRST, _LONGEST, random.Random())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._last is None:
                    await self._follow(until_first=True)
                    if self._last is None:
                        await asyncio.sleep(backoff.next())
        self.material()

    async def watch(self) -> None:
        """Take each new identity, and connect again when the stream ends, until cancelled."""
        backoff = Backoff(_FIRST, _LONGEST, random.Random())
        while True:
            if await self._follow():
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _follow(self, *, until_first: bool = False) -> bool:
        """Read one stream to its end, which is an error. Return whether it brought an identity."""
        taken = False
        async with grpc.aio.insecure_channel(self.socket, _OPTIONS) as channel:
            # Parsed below: grpc's own deserializer would log an answer that it cannot parse, and yield None.
            fetch: grpc.aio.UnaryStreamMultiCallable[X509SvidRequest, bytes]
            fetch = channel.unary_stream(_METHOD, X509SvidRequest.SerializeToString)
            call = fetch(X509SvidRequest(), metadata=_METADATA)
            try:
                async for response in call:
                    taken = self._take(response) or taken
                    if taken and until_first:
                        return True
                self._fail("it ended the stream")
            except grpc.aio.AioRpcError as e:
                # SPIRE's agent answers so if no entry matches the process.
                unknown = e.code() is grpc.StatusCode.PERMISSION_DENIED
                self._fail(
                    f"{e.code().name}: {e.details()}", ": register an entry for this workload" * unknown
                )
            finally:
                call.cancel()
        return taken

    def _take(self, response: bytes) -> bool:
        try:
            self._last = material_of(X509SvidResponse.FromString(response), self._wanted)
        except (SvidError, DecodeError) as e:
            self._fail(str(e) or "its answer cannot be parsed")
            return False
        self.problem = ""
        return True

    def _fail(self, text: str, remedy: str = "") -> None:
        """Note a problem, and log it if it is a new one. The last identity stays."""
        shown = ascii(text)[1:-1][:_MOST_TEXT]
        problem = f"the SPIFFE Workload API at {self.socket} gave no identity: {shown}{remedy}"
        if problem != self.problem:
            self.problem = problem
            _log.warning("%s", problem)
