"""Health (grpc.health.v1): the servicer of a process, and the watcher of its peers.

May be imported by `grpcmesh.client`, `grpcmesh.server`, `grpcmesh.server_side`, `grpcmesh.commands`,
`services`, `local`, `meshmart`. Start reading in `servicer`. See mesh/docs/health.md.
"""
