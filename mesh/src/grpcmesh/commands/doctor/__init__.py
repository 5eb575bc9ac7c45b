"""What `python -m grpcmesh check` does: probes collect facts, and rules turn them into findings.

May be imported by `grpcmesh.commands.check`, `meshmart`. Start reading in `examination`. See
mesh/docs/doctor.md.
"""
