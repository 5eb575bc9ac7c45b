"""The machinery under `grpcmesh.channel`: connections, the pool of a target, and the way of one call."""
