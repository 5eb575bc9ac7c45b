"""The client side of the mesh: the channel, the path of a call, connections, and the pool of a target.

May be imported by `grpcmesh.member`, `grpcmesh.commands`, `services`, `meshmart`. Start reading in `channel`.
See mesh/docs/calls.md.
"""
