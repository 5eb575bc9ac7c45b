"""The synchronous channel: the machines, the layers and the balancer of the mesh, driven by threads.

A call runs in its caller's thread, on native synchronous channels. An event loop resolves names, watches
health and renews certificates; calls do not go through it. All that calls share is guarded by one lock. May
be imported by `grpcmesh.member`. Start reading in `channel`. See mesh/docs/sync.md.
"""
