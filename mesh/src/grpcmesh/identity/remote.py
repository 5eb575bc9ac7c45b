"""Reads the certificate of the server of a native channel, through channelz.

grpc.aio gives a client no information about its peer. But channelz, grpc's public introspection, has the
certificate of each socket. A native channel is found there by the fragment of its target. gRPC ignores the
fragment otherwise, so each channel gets a unique one. Channelz numbers channels in ascending order, so each
is listed only once.
"""

import asyncio
import itertools
from typing import Any

from grpc_channelz.v1 import channelz, channelz_pb2

_Z: Any = channelz.ChannelzServicer
_numbers = itertools.count(1)
_FRAGMENT = "#mesh-"


class _GoneError(Exception):
    """Raised if channelz does not have the object, or no longer has it."""


class _Context:
    """A substitute for the context of a call, on which the channelz servicer reports errors."""

    def set_code(self, code: Any) -> None:
        raise _GoneError

    def set_details(self, details: str) -> None: ...


async def _ask(method: Any, request: Any) -> Any:
    """Return channelz's answer. It takes about 0.3 ms without waiting, so other tasks run first."""
    await asyncio.sleep(0)
    return method(request, _Context())


class _Index:
    """Caches the channelz ids of this process's channels whose target has a fragment of ours."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._next = 0

    async def find(self, target: str) -> int | None:
        """Return the id of the channel with this target, or None."""
        if target not in self._ids:
            await self._list()
        return self._ids.get(target)

    def forget(self, target: str) -> None:
        self._ids.pop(target, None)

    async def _list(self) -> None:
        """Add the channels that are new since the last call."""
        while True:
            request = channelz_pb2.GetTopChannelsRequest(start_channel_id=self._next)
            response = await _ask(_Z.GetTopChannels, request)
            for channel in response.channel:
                self._next = max(self._next, channel.ref.channel_id + 1)
                if _FRAGMENT in channel.data.target:
                    self._ids[channel.data.target] = channel.ref.channel_id
            if response.end or not response.channel:
                return


_index = _Index()


class RemoteCertificate:
    """Reads the server's certificate of one native channel.

    Args:
        uri: Address of the server, such as `ipv4:127.0.1.1:50051`. The channel has to be opened to the
            attribute `target` instead.
    """

    def __init__(self, uri: str) -> None:
        self.target = f"{uri}{_FRAGMENT}{next(_numbers)}"

    async def read(self) -> bytes:
        """Return the PEM certificate that the server has shown; empty if channelz does not have it."""
        try:
            channel_id = await _index.find(self.target)
            return b"" if channel_id is None else await _certificate(channel_id)
        except _GoneError:
            return b""

    def forget(self) -> None:
        """Drop the cached id of the channel, which has been closed."""
        _index.forget(self.target)


async def _certificate(channel_id: int) -> bytes:
    request: Any = channelz_pb2.GetChannelRequest(channel_id=channel_id)
    channel = (await _ask(_Z.GetChannel, request)).channel
    for ref in channel.subchannel_ref:
        request = channelz_pb2.GetSubchannelRequest(subchannel_id=ref.subchannel_id)
        subchannel = (await _ask(_Z.GetSubchannel, request)).subchannel
        for socket in subchannel.socket_ref:
            request = channelz_pb2.GetSocketRequest(socket_id=socket.socket_id)
            found = await _ask(_Z.GetSocket, request)
            shown: bytes = found.socket.security.tls.remote_certificate
            if shown:
                return shown
    return b""
