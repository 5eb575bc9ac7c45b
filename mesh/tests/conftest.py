"""Configuration shared by all tests of the library."""

from hypothesis import HealthCheck, settings

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once

# No timing as an absolute: machines are shared. Of a library's profile for CI the rest stays.
settings.register_profile("grpcmesh", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("grpcmesh")
