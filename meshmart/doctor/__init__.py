"""What `meshmart check` does: runs `python -m grpcmesh check` inside each workload, merges the findings.

May be imported by `meshmart`. Start reading in `examination`.
"""
