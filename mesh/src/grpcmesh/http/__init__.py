"""An HTTP/1.1 server for ports that anybody can reach: strict framing, deadlines, limits by address.

May be imported by `grpcmesh.admin`, `grpcmesh.member`, `services`, `local`, `meshmart`. Start reading in
`server`.
"""

from grpcmesh.http.limits import HttpLimits
from grpcmesh.http.peers import Proxies
from grpcmesh.http.server import Asgi, HttpServer, bounded

__all__ = ["Asgi", "HttpLimits", "HttpServer", "Proxies", "bounded"]
