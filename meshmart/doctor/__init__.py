"""What `meshmart check` does: runs `python -m grpcmesh check` inside each workload, merges the findings."""
