"""The shop: one package for each service, and what they share in `services.kit`.

A service imports `services.kit` and the library, never another service. May be imported by `local`,
`meshmart`, `bench`, `tools`. Start reading in `product.main`.
"""

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once
