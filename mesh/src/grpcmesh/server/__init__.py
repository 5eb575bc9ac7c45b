"""The server side of the mesh: the server, the wrapping of handlers, streams, ports, drain.

May be imported by `grpcmesh.server_side`, `grpcmesh.lifecycle`, `grpcmesh.runtime`, `local`, `meshmart`.
Start reading in `server`. See mesh/docs/server.md.
"""
