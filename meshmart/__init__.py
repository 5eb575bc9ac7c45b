"""The `meshmart` command."""

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once
