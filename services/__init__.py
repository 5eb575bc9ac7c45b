"""The shop: one package for each service."""

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once
