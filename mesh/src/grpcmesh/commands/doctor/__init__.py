"""What `python -m grpcmesh check` does: probes collect facts, and rules turn them into findings."""
