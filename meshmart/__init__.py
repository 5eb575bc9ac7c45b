"""The `meshmart` command: one verb per module, on an embedded or a Kubernetes cluster.

May be imported by `bench`. Start reading in `cluster`.
"""

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once
