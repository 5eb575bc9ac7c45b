"""The certificate of the server at the other end of a native channel, through channelz.

grpc.aio shows a client nothing of its peer. Channelz, grpc's public introspection, knows the certificate of
each socket. A native channel is found there by the fragment of its target, which gRPC ignores otherwise: each
one gets a fragment of its own. Channels are listed once each: channelz numbers them in ascending order.
"""

import asyncio
import itertools
from typing import Any

from grpc_channelz.v1 import channelz, channelz_pb2

_Z: Any = channelz.ChannelzServicer
_numbers = itertools.count(1)
_FRAGMENT = "#mesh-"


class _GoneError(Exception):
    """Channelz knows no such thing, or no longer."""


class _Context:
    """Stands in for the context of a call: the servicer tells it what went wrong."""

    def set_code(self, code: Any) -> None:
        raise _GoneError

    def set_details(self, details: str) -> None: ...


async def _ask(method: Any, request: Any) -> Any:
    """Ask channelz. It answers at once, within some 0.3 ms: others have their turn in between."""
    await asyncio.sleep(0)
    return method(request, _Context())


class _Index:
    """The channelz ids of this process's tagged channels that have been listed and not been forgotten."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._next = 0

    async def find(self, target: str) -> int | None:
        """The id of the channel with this target."""
        if target not in self._ids:
            await self._list()
        return self._ids.get(target)

    def forget(self, target: str) -> None:
        self._ids.pop(target, None)

    async def _list(self) -> None:
        """List the channels that are new since last time."""
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
        uri: `ipv4:127.0.1.1:50051`. The channel has to be opened to `target` instead.
    """

    def __init__(self, uri: str) -> None:
        self.target = f"{uri}{_FRAGMENT}{next(_numbers)}"

    async def read(self) -> bytes:
        """The PEM certificate that the server has shown; empty where channelz does not know it."""
        try:
            channel_id = await _index.find(self.target)
            return b"" if channel_id is None else await _certificate(channel_id)
        except _GoneError:
            return b""

    def forget(self) -> None:
        """The channel has been closed."""
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
