"""The connections of one server of this process, through channelz: the public way that grpc has for it."""

from typing import Any

from grpc_channelz.v1 import channelz, channelz_pb2

_Z: Any = channelz.aio.ChannelzServicer
#: Sockets asked for at a time.
_PAGE = 500


async def server_ids() -> frozenset[int]:
    """The channelz ids of the servers of this process."""
    response = await _Z.GetServers(channelz_pb2.GetServersRequest(), None)
    return frozenset(server.ref.server_id for server in response.server)


async def peers(server_id: int) -> frozenset[str]:
    """Who is connected to a server, as `context.peer()` writes it (`ipv4:127.0.0.1:40000`)."""
    found: set[str] = set()
    start, end = 0, False
    while not end:
        request = channelz_pb2.GetServerSocketsRequest(
            server_id=server_id, start_socket_id=start, max_results=_PAGE
        )
        response = await _Z.GetServerSockets(request, None)
        found.update(ref.name.rpartition(" ")[2] for ref in response.socket_ref)
        end = response.end or not response.socket_ref
        start = max((ref.socket_id for ref in response.socket_ref), default=0) + 1
    return frozenset(found)
